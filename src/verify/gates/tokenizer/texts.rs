//! The gate of ids: texts that ways of cutting tell apart, and what each side makes of them.

use crate::ir::Result;
use crate::ir::tokenizer::Tokenizer;
use crate::run::tokens::Encoder;
use crate::verify::report::Finding;
use crate::verify::tokens::TEXT;

/// What the gate is called.
pub(super) const NAME: &str = "token-ids";

/// How many texts are listed; another way of cutting differs in many.
const LISTED_MAX: usize = 5;
/// Added tokens that are put into texts of their own: some vocabularies have thousands.
const ADDED_MAX: usize = 64;

/// Texts that something is done to: by one pre-tokenizer or normalizer, and not by another.
const TEXTS: &[&str] = &[
    "",
    " ",
    "\n",
    "Hello, world!",
    "0 1 12 123 1234 12345678 3.14159 1,000,000 2e10 0x1F ٣٤ ५ Ⅷ ½",
    "I'm you're IT'S he'll we'd they've don't O'Neill 'tis 's 'LL",
    "  two  spaces   three    four     ",
    "a\nb\r\nc\n\n\nd\t\te \n f\u{a0}g\u{3000}h\u{2028}i",
    "caf\u{e9} cafe\u{301} \u{c5} A\u{30a} \u{1e69} s\u{323}\u{307} 한국 \u{1112}\u{1161}\u{11ab}",
    "ﬁnance ② x² ｆｕｌｌ ㎏ Ǆ ﷺ …",
    "Straße İstanbul ΑΣ ÀÉÎÕÜ ǅ naïve",
    "🦙👩‍👩‍👧🏽 🇩🇪 ❤️ 1️⃣",
    "日本語の文章です。中文句子，没有空格 한국어 문장",
    "नमस्ते ภาษาไทย שָׁלוֹם العَرَبِيَّة",
    "(a) [b] {c} <d> \"e\" «f» --- ... !!! ??? $1 #2 @x a_b a-b a/b a\\b ~^`|+=*&%",
    "https://example.org/a?b=c&d=1#e user@example.org",
    "fn main() {\n    let x: u8 = 0b01;\n\treturn x+1; // done\n}",
    "camelCase HTTPServer snake_case SCREAMING_CASE iPhone15",
    "\u{0}\u{7}\u{200b}\u{feff}\u{ad}\u{fffd}\u{e000}\u{10fffd}",
    "▁meta ▁▁ <0x0A> ## ##ing [UNK] Ġ Ċ",
    "Donaudampfschifffahrtsgesellschaftskapitän aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
];

/// Texts whose ids differ, else what holds.
///
/// # Errors
/// What making the reference's tokenizer ready meets.
pub(super) fn compare(theirs: &Tokenizer, ours: &Tokenizer) -> Result<(Vec<Finding>, String)> {
    if theirs == ours {
        return Ok((Vec::new(), "both tokenizers are one, so their ids are".into()));
    }
    let expected = Encoder::new(theirs)?;
    let found = match Encoder::new(ours) {
        Ok(found) => found,
        Err(error) => {
            return Ok((vec![Finding::new(NAME, "candidate", error.to_string())], String::new()));
        }
    };
    let texts = texts(theirs);
    let mut findings = Vec::new();
    for text in &texts {
        let differ = [false, true].into_iter().find_map(|special| {
            // A pattern that gives up on a text gives no ids to compare.
            let expected = expected.encode(text, special, special).ok()?;
            differs(&expected, found.encode(text, special, special))
        });
        findings.extend(differ.map(|what| Finding::new(NAME, shown(text), what)));
    }
    let differ = findings.len();
    if differ > LISTED_MAX {
        findings.truncate(LISTED_MAX);
        let text = format!("{differ} of {} texts become other ids", texts.len());
        findings.push(Finding::new(NAME, "texts", text));
    }
    let holds = format!("{} texts, with and without special tokens", texts.len());
    Ok((findings, holds))
}

/// The fixed texts, the built-in one, and the reference's added tokens among letters.
fn texts(theirs: &Tokenizer) -> Vec<String> {
    let added = theirs.added.iter().take(ADDED_MAX).filter_map(|added| theirs.text(added.id));
    let among = added.map(|token| format!("a {token} b{token}{token}c "));
    let fixed = TEXTS.iter().copied().chain([TEXT]).map(str::to_owned);
    fixed.chain(among).collect()
}

fn differs(expected: &[u32], found: Result<Vec<u32>>) -> Option<String> {
    let found = match found {
        Ok(found) => found,
        Err(error) => return Some(format!("the candidate gives no ids: {error}")),
    };
    let at = expected.iter().zip(&found).position(|(a, b)| a != b);
    let at = at.or_else(|| {
        let len = expected.len().min(found.len());
        (expected.len() != found.len()).then_some(len)
    })?;
    let id = |ids: &[u32]| ids.get(at).map_or("none".into(), u32::to_string);
    let (a, b) = (id(expected), id(&found));
    Some(format!("id {at}: reference {a}, candidate {b}"))
}

/// The beginning of a text.
fn shown(text: &str) -> String {
    const LEN: usize = 24;
    let start: String = text.chars().take(LEN).collect();
    let end = if text.chars().nth(LEN).is_some() { "…" } else { "" };
    format!("{start:?}{end}")
}
