//! A tokenizer as a value: its pieces, merges, special tokens, and how text is cut first.
//!
//! ```text
//!  text ─added tokens cut out─▶ segments ─normalized─▶ ─steps─▶ words ─looked up─▶ ids
//!         (longest first)          Pre::normal, Pre::steps        Bpe::merges, WordPiece
//!                                  Spelling                       Spm::scores, Unigram::scores
//! ```
//!
//! Readers make sure that every id in a tokenizer is below the number of its tokens, that no two
//! tokens have one text, and that merges join tokens to a token; all others rely on it.

pub mod base64;
pub mod charsmap;
pub mod names;
pub mod normal;
pub mod pattern;
pub mod pre;
pub mod spm;
pub mod unigram;
pub mod wordpiece;

use std::collections::{BTreeMap, HashMap};

pub use charsmap::Charsmap;
pub use normal::Normal;
pub use pattern::Pattern;
pub use pre::{Keep, Metaspace, Pre, Prepend, Split, Step};
pub use spm::{Space, Spelling, Spm};
pub use unigram::{Text, Unigram};
pub use wordpiece::WordPiece;

use super::{Error, Result};

/// A tokenizer as a value, whatever file described it.
#[derive(Debug, Clone, PartialEq)]
pub struct Tokenizer {
    /// How words become tokens.
    pub kind: Kind,
    /// Each token, by id.
    pub tokens: Vec<Token>,
    /// Tokens that are cut out of the text before anything else, by rising id.
    pub added: Vec<Added>,
    /// Which token plays which part.
    pub special: BTreeMap<Role, u32>,
    /// Ids put before a text.
    pub prefix: Vec<u32>,
    /// Ids put after a text.
    pub suffix: Vec<u32>,
    /// Ids become text as the kind has it. A tokenizer.json may leave that out: then Hugging Face's
    /// library gives tokens as they are spelled, with spaces between.
    pub has_decoder: bool,
    /// How a chat becomes text, in Jinja: (name, template), the usual one being "default".
    pub chat_templates: Vec<(String, String)>,
}

/// How words become tokens.
#[derive(Debug, Clone, PartialEq)]
pub enum Kind {
    /// Neighbours are joined, the pair of lowest rank first.
    Bpe(Bpe),
    /// Neighbours are joined, those that make the piece of highest score first.
    Spm(Spm),
    /// Of all pieces that spell a text, those of the highest sum of scores.
    Unigram(Unigram),
    /// The longest piece that a word begins with, then the longest that what is left does.
    WordPiece(WordPiece),
}

/// Byte-pair encoding.
#[derive(Debug, Clone, PartialEq)]
pub struct Bpe {
    /// Pairs of ids in the order of their rank; the texts of a pair, joined, are a token's.
    pub merges: Vec<(u32, u32)>,
    /// A word that is a token becomes that token, whatever the merges would make of it.
    pub ignore_merges: bool,
    /// What stands for a character that is no token. Without it, such characters vanish.
    pub unknown: Option<u32>,
    /// Neighbouring unknown characters become one token.
    pub fuse_unknown: bool,
    /// How text is cut into words.
    pub pre: Pre,
}

/// One entry of the vocabulary.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Token {
    /// The text; of a byte-level vocabulary, in its alphabet of 256 letters.
    pub text: String,
    /// What the token is for.
    pub class: Class,
}

/// What a token is for, numbered as GGUF's `tokenizer.ggml.token_type`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(i32)]
pub enum Class {
    /// A piece of text.
    Normal = 1,
    /// Stands for what has no token.
    Unknown = 2,
    /// Steers the model; not text.
    Control = 3,
    /// Text that is never cut.
    UserDefined = 4,
    /// Fills a row of the embedding that means nothing.
    Unused = 5,
    /// One byte, spelled `<0x0A>`.
    Byte = 6,
}

impl Class {
    /// The class of this number in a GGUF file.
    pub fn of_id(id: i32) -> Option<Self> {
        use Class::{Byte, Control, Normal, Unknown, Unused, UserDefined};
        let all = [Normal, Unknown, Control, UserDefined, Unused, Byte];
        all.into_iter().find(|class| *class as i32 == id)
    }
}

/// A token that is cut out of the text before anything else.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Added {
    /// Its id.
    pub id: u32,
    /// It is cut out only where special tokens are asked for, and left out of decoded text.
    pub special: bool,
    /// White space before it belongs to it.
    pub lstrip: bool,
    /// White space after it belongs to it.
    pub rstrip: bool,
    /// It counts only where no word character touches it.
    pub single_word: bool,
    /// It is looked for in the normalized text.
    pub normalized: bool,
}

impl Added {
    /// The tokens that are cut out of a text where only what each is for says so: `cache_special_tokens`
    /// of llama.cpp.
    pub fn by_class(tokens: &[Token]) -> Vec<Self> {
        let added = |(id, token): (u32, &Token)| {
            let special = match token.class {
                Class::Control | Class::Unknown => true,
                Class::UserDefined => false,
                Class::Normal | Class::Unused | Class::Byte => return None,
            };
            let (lstrip, rstrip, single_word, normalized) = (false, false, false, false);
            Some(Self { id, special, lstrip, rstrip, single_word, normalized })
        };
        (0..).zip(tokens).filter_map(added).collect()
    }
}

/// The part that a special token plays.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[allow(missing_docs, reason = "each is explained by its row in `ROLES`")]
pub enum Role {
    Bos,
    Eos,
    Eot,
    Eom,
    Unk,
    Sep,
    Pad,
    Cls,
    Mask,
    FimPre,
    FimSuf,
    FimMid,
    FimPad,
    FimRep,
    FimSep,
}

/// Each role, its name in Hugging Face's configurations, and its name in GGUF's keys.
#[rustfmt::skip]
pub const ROLES: &[(Role, &str, &str)] = &[
    (Role::Bos,    "bos",     "bos"),        // begins a text
    (Role::Eos,    "eos",     "eos"),        // ends a text
    (Role::Eot,    "eot",     "eot"),        // ends a turn of a chat
    (Role::Eom,    "eom",     "eom"),        // ends a message within a turn
    (Role::Unk,    "unk",     "unknown"),    // stands for what has no token
    (Role::Sep,    "sep",     "seperator"),  // parts two texts; the misspelling is the format's
    (Role::Pad,    "pad",     "padding"),    // fills shorter texts of a batch
    (Role::Cls,    "cls",     "cls"),        // stands for the whole text
    (Role::Mask,   "mask",    "mask"),       // hides a word
    (Role::FimPre, "fim_pre", "fim_pre"),    // what follows is before the gap
    (Role::FimSuf, "fim_suf", "fim_suf"),    // what follows is after the gap
    (Role::FimMid, "fim_mid", "fim_mid"),    // what follows fills the gap
    (Role::FimPad, "fim_pad", "fim_pad"),    // fills a text with a gap
    (Role::FimRep, "fim_rep", "fim_rep"),    // names a repository
    (Role::FimSep, "fim_sep", "fim_sep"),    // parts files
];

impl Tokenizer {
    /// How words become tokens, in a word.
    pub fn kind_name(&self) -> &'static str {
        match self.kind {
            Kind::Bpe(_) => "bpe",
            Kind::Spm(_) => "spm",
            Kind::Unigram(_) => "unigram",
            Kind::WordPiece(_) => "wordpiece",
        }
    }

    /// The id that plays a part.
    pub fn role(&self, role: Role) -> Option<u32> {
        self.special.get(&role).copied()
    }

    /// The text of a token.
    pub fn text(&self, id: u32) -> Option<&str> {
        self.tokens.get(id as usize).map(|token| token.text.as_str())
    }

    /// Whether encoding a text as a prompt begins it with BOS.
    pub fn adds_bos(&self) -> bool {
        self.role(Role::Bos).is_some_and(|bos| self.prefix.contains(&bos))
    }

    /// Whether encoding a text as a prompt ends it with EOS.
    pub fn adds_eos(&self) -> bool {
        self.role(Role::Eos).is_some_and(|eos| self.suffix.contains(&eos))
    }

    /// The template of a chat, under "default" unless named.
    pub fn chat_template(&self, name: Option<&str>) -> Option<&str> {
        let wanted = name.unwrap_or("default");
        let found = self.chat_templates.iter().find(|(name, _)| name == wanted);
        found.map(|(_, template)| template.as_str())
    }
}

/// The id of each text.
///
/// # Errors
/// Malformed if two tokens have the same text.
pub fn by_text(tokens: &[Token]) -> Result<HashMap<&str, u32>> {
    let mut ids = HashMap::with_capacity(tokens.len());
    for (id, token) in tokens.iter().enumerate() {
        if let Some(first) = ids.insert(token.text.as_str(), id as u32) {
            let found = format!("token '{}' has two ids, {first} and {id}", token.text);
            return Err(Error::malformed(found));
        }
    }
    Ok(ids)
}

/// The ids of a merge's two sides.
///
/// # Errors
/// Malformed if a side, or both joined, is no token.
pub fn merge(ids: &HashMap<&str, u32>, left: &str, right: &str) -> Result<(u32, u32)> {
    let id = |text: &str| {
        let missing = || format!("merge '{left}' + '{right}': '{text}' is not in the vocabulary");
        ids.get(text).copied().ok_or_else(|| Error::malformed(missing()))
    };
    id(&[left, right].concat())?;
    Ok((id(left)?, id(right)?))
}

/// Checks that no pair is merged twice: readers would differ in which rank counts.
///
/// # Errors
/// Malformed, with the place of the second.
pub fn check_merges(merges: &[(u32, u32)]) -> Result<()> {
    let mut sorted: Vec<_> = merges.iter().enumerate().map(|(rank, pair)| (*pair, rank)).collect();
    sorted.sort_unstable();
    match sorted.windows(2).find(|pair| pair[0].0 == pair[1].0) {
        None => Ok(()),
        Some(same) => {
            Err(Error::malformed(format!("merges {} and {} are one", same[0].1, same[1].1)))
        }
    }
}
