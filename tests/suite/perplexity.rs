//! What models think of a text, held against what llama.cpp's logits give.

use serde_json::Value as Json;

use crate::program::{Dir, fixture, json, remold, tiny};

/// Numbers that llama.cpp's logits and llama-perplexity's formulas give: see
/// fixtures/make/perplexity.py. It keeps keys and values in f16, so its logits are 1e-3 off ours, and KLD
/// where a model is sure of itself 1 %.
fn near(found: &Json, expected: &Json, at: &str) {
    match expected {
        Json::Object(parts) => {
            assert_eq!(found.as_object().map(|f| f.len()), Some(parts.len()), "{at}");
            parts.iter().for_each(|(key, part)| near(&found[key], part, &format!("{at}.{key}")));
        }
        _ => {
            let expected = expected.as_f64().expect("a number");
            let found = found.as_f64().unwrap_or_else(|| panic!("{at}: {found}"));
            let tolerance = 1e-4 + 2e-2 * expected.abs();
            assert!((found - expected).abs() < tolerance, "{at}: {found}, expected {expected}");
        }
    }
}

/// A text of which six chunks of 128 are run.
const TEXT: [&str; 4] = ["--ctx", "128", "--chunks", "6"];

#[test]
fn a_text_is_scored_as_llama_perplexity_scores_it() {
    let expected = json(fixture("perplexity/expected.json"));
    let text = fixture("tiny-llama/heldout.txt");
    let ran =
        remold!("perplexity", tiny(), "-f", text, TEXT[0], TEXT[1], TEXT[2], TEXT[3], "--json");
    let found = ran.ends(0).json();
    near(&found["perplexity"], &expected["ppl_reference"], "perplexity");
    near(&found["perplexity_error"], &expected["ppl_reference_error"], "error");
    assert_eq!((&found["scored"], &found["chunks"]), (&expected["scored"], &6.into()));
    let shown =
        remold!("perplexity", tiny(), "-f", fixture("tiny-llama/heldout.txt"), "--chunks", "1");
    let shown = shown.ends(0).stdout;
    assert!(shown.starts_with("perplexity ") && shown.contains("255 tokens scored"), "{shown}");
}

#[test]
fn two_models_are_compared_on_a_text_as_llama_perplexity_does() {
    let expected = json(fixture("perplexity/expected.json"));
    let dir = Dir::new();
    let (base, candidate) =
        (dir.converted(&tiny(), "base.gguf", "f32"), dir.join("candidate.gguf"));
    remold!("quantize", base, candidate, "Q4_0").ends(0);
    let text = fixture("tiny-llama/heldout.txt");
    let report = dir.join("report.json");
    let ran = remold!(
        "verify", base, candidate, "--text", text, TEXT[0], TEXT[1], TEXT[2], TEXT[3], "--json",
        report
    );
    let shown = ran.ends(0).stdout;
    assert!(shown.contains("RMS") && shown.contains("99.9%"), "{shown}");
    let found = json(&report);
    assert_eq!(found["positions"], expected["scored"]);
    let fields = expected.as_object().expect("numbers");
    assert_eq!(fields.len(), 27);
    for (key, value) in fields.iter().filter(|(key, _)| *key != "scored") {
        near(&found[key], value, key);
    }
}

/// Identical models differ by exactly nothing, though both are run.
#[test]
fn a_model_against_itself_gives_zeros() {
    let dir = Dir::new();
    let report = dir.join("report.json");
    let text = fixture("tiny-llama/heldout.txt");
    remold!("verify", tiny(), tiny(), "--text", text, "--chunks", "1", "--json", report).ends(0);
    let found = json(&report);
    for key in ["mean_kld", "max_kld", "mean_kld_error", "rms_delta_p", "max_delta_p", "nmse"] {
        assert_eq!(found[key], 0.0, "{key}");
    }
    assert_eq!((&found["positions"], &found["top1_agreement"]), (&255.into(), &1.0.into()));
    assert_eq!(found["ppl_difference"], 0.0);
}

#[test]
fn a_text_that_predicts_nothing_is_refused() {
    let dir = Dir::new();
    let text = dir.join("text.txt");
    std::fs::write(&text, "").expect("a file");
    let message = remold!("perplexity", tiny(), "-f", text).refuses(2);
    assert!(message.contains("text.txt") && message.contains("2 are the least"), "{message}");
}
