//! The forms of a report.

use super::model::{Like, alter, honest, packing, reference};
use super::with_running;
use crate::ir::DType;
use crate::verify::{Asked, On, Options, Report, compare};

const NAME: &str = "a<script>alert('x')</script>&\u{1b}[31m";

/// A failing report whose origin and tensors have hostile names.
fn hostile() -> Report {
    let mut good = reference(DType::BF16, Like::default());
    let norm = good.tensors["model.norm.weight"].clone();
    let mut candidate = honest(&good, packing("q8_0"));
    candidate.origin = NAME.into();
    candidate.tensors.insert(NAME.into(), norm);
    alter(&mut candidate, "blk.0.ffn_up.weight", |values| values[3] += 1.0);
    good.origin = "good".into();
    with_running(&good, &candidate)
}

#[test]
fn json_has_the_fields_that_scripts_depend_on() {
    let report = hostile();
    let json = report.to_json();
    let numbers = [
        "mean_kld",
        "median_kld",
        "max_kld",
        "p99_kld",
        "top1_agreement",
        "nmse",
        "max_abs_diff",
        "ppl_reference",
        "ppl_candidate",
        "positions",
    ];
    for key in numbers {
        assert!(json[key].is_number(), "{key}: {}", json[key]);
    }
    assert_eq!((&json["pass"], &json["kind"]), (&false.into(), &"logits".into()));
    let gate = &json["gates"][0];
    assert_eq!(gate["name"], "hyper-parameters");
    assert!(gate["value"].is_number() && gate["limit"].is_number() && gate["pass"].is_boolean());
    let tensor = &json["tensors"][0];
    assert_eq!(
        (&tensor["dtype_reference"], &tensor["name"]),
        (&"bf16".into(), &"token_embd.weight".into())
    );
    assert!(tensor["nmse"].is_number() && tensor["max_abs_diff"].is_number());
}

#[test]
fn no_name_breaks_out_of_a_page_or_a_terminal() {
    let report = hostile();
    for page in [report.to_html(), report.to_junit()] {
        assert!(!page.contains("<script") && !page.contains('\u{1b}'), "{page}");
        assert!(page.contains("&lt;script&gt;"), "{page}");
        assert!(!page.contains("http"), "it must need no network");
    }
    let text = report.to_text(true);
    assert!(!text.contains('\u{1b}') && text.contains("FAIL  conservation"), "{text}");
    if let Ok(folder) = std::env::var("REMOLD_SHOW") {
        std::fs::write(format!("{folder}/report.html"), report.to_html()).expect("a page");
        std::fs::write(format!("{folder}/report.xml"), report.to_junit()).expect("a page");
        std::fs::write(format!("{folder}/report.txt"), text).expect("a text");
    }
}

#[test]
fn a_wish_that_fails_says_what_would_pass() {
    let good = reference(DType::BF16, Like::default());
    let asked = Asked { max_kld: Some(1e-9), min_top1: Some(0.1), max_nmse: Some(1.0) };
    let options = Options { asked, on: On::Ids((0..40).collect()), ..Options::default() };
    let report = compare(&good, &honest(&good, packing("q4_0")), &options).unwrap();
    let failing: Vec<&str> = report.gates.iter().filter(|g| !g.pass).map(|g| g.name).collect();
    assert_eq!(failing, ["max-kld"]);
    assert!(report.to_text(false).contains("would pass with --max-kld 0.0"));
    assert!(report.to_junit().contains("failures=\"1\""));
}
