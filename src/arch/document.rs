//! docs/families.md, made of the table.

use super::{ARCHS, Arch, Plan};

/// The document of all families.
fn document() -> String {
    let mut text = String::from(HEAD);
    for arch in ARCHS {
        let classes: Vec<String> = arch.hf.iter().map(|class| format!("`{class}`")).collect();
        text += &format!(
            "| `{}` | {} | `{}` | {} | yes | {} |\n",
            arch.model_type,
            classes.join(", "),
            arch.gguf,
            if arch.hf.is_empty() { "from ggml" } else { "both" },
            oracles(arch)
        );
    }
    text + FOOT
}

fn oracles(arch: &Arch) -> &'static str {
    match (arch.in_llama_cpp, arch.block.plan) {
        _ if arch.hf.is_empty() => "rwkv.cpp",
        _ if arch.gguf == "rwkv4" => "transformers, rwkv.cpp",
        (true, Plan::Decoder) => "transformers, llama.cpp",
        _ => "transformers",
    }
}

const HEAD: &str = "\
# Families

Made from the table in `src/arch`; `BLESS=1 cargo test --lib arch::document` rewrites it.

- **both**: Hugging Face to GGUF and GGUF to Hugging Face, by the same rows.
- **runs**: `logits`, `run`, `verify`, `bench`, from either side, each by its own conventions.
- **transformers**: logits of 5.23.0 in f32, NMSE ≤ 1e-10, whole prompt and token by token, from both sides.
- **from ggml**: only files of rwkv.cpp, and the GGUF made of them; transformers has no such class.
- **rwkv.cpp**: the logits that it tests itself with, within its tolerance.
- **llama.cpp**: of decoders, loads the f32 GGUF and agrees with transformers to NMSE ≤ 1e-5, where it computes the configuration; what it does not is a note.

| config.json's `model_type` | class names | GGUF architecture | directions | runs | verified against |
|---|---|---|---|---|---|
";

const FOOT: &str = "
What GGUF has no key for (an unusual activation, a pattern of windows that llama.cpp does not have, dynamic NTK …) is written as `remold.*`, with a note:
a file made here is then run here as it was meant. A family that llama.cpp does not know is written under its own name, with a note.
";

#[test]
fn the_document_is_that_of_the_table() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/families.md");
    let text = document();
    if std::env::var_os("BLESS").is_some() {
        std::fs::write(path, &text).unwrap();
    }
    let found = std::fs::read_to_string(path).unwrap_or_default();
    assert_eq!(found, text, "docs/families.md is not that of the table; BLESS=1 rewrites it");
}
