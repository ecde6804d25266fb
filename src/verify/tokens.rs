//! The ids on which two models are compared where the user gives none.
//!
//! They come from SplitMix64 (Steele, Lea and Flood, 2014) seeded with "remold" in ASCII: draw
//! `i` is the high half of output `i` times the number of allowed ids, divided by 2^32. Random
//! ids exercise the whole embedding matrix, need no tokenizer, and are the same everywhere.

use std::collections::BTreeSet;

use crate::ir::Hyper;
use crate::ir::tokenizer::{Class, Tokenizer};
use crate::run::random::SplitMix;

/// "remold".
const SEED: u64 = 0x7265_6d6f_6c64;
/// How many ids, unless a window asks for more.
const COUNT: u64 = 256;
/// How far a text reaches beyond a sliding window.
const BEYOND: u64 = 64;
/// Longer texts are cut into pieces of this many ids, so that the cache stays small.
const PIECE: u64 = 512;

/// The ids of a tokenizer that are no text: they steer the model, or fill its embedding.
pub fn special(tokenizer: &Tokenizer) -> Vec<u32> {
    let is_special = |class| matches!(class, Class::Control | Class::Unknown | Class::Unused);
    let ids = (0..).zip(&tokenizer.tokens);
    ids.filter(|(_, token)| is_special(token.class)).map(|(id, _)| id).collect()
}

/// The text that models with a tokenizer are run on: prose, speech, numbers, names, code.
pub const TEXT: &str = include_str!("text.txt");

/// Ids over the vocabulary without the special ones: longer than any window, shorter than the
/// context.
pub fn generate(hyper: &Hyper, special: &[u32]) -> Vec<u32> {
    let special: BTreeSet<u32> = special.iter().copied().collect();
    let vocab = u32::try_from(hyper.vocab.unwrap_or(0)).unwrap_or(u32::MAX);
    let allowed: Vec<u32> = (0..vocab).filter(|id| !special.contains(id)).collect();
    if allowed.is_empty() {
        return Vec::new();
    }
    let mut random = SplitMix::new(SEED);
    let draw = |_| allowed[random.below(allowed.len() as u64) as usize];
    (0..length(hyper, COUNT)).map(draw).collect()
}

/// Long texts in pieces that are run one by one, each from an empty cache.
pub fn pieces<'t>(hyper: &Hyper, ids: &'t [u32]) -> impl Iterator<Item = &'t [u32]> {
    ids.chunks(length(hyper, PIECE).max(1) as usize)
}

/// `usual`, but longer than the window if there is one, and no longer than the context.
fn length(hyper: &Hyper, usual: u64) -> u64 {
    let beyond = hyper.sliding_window.map_or(0, |window| window.saturating_add(BEYOND));
    usual.max(beyond).min(hyper.context.unwrap_or(usual))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hyper(window: Option<u64>) -> Hyper {
        let context = Some(2048);
        Hyper { vocab: Some(1000), context, sliding_window: window, ..Hyper::default() }
    }

    #[test]
    fn special_ids_are_never_drawn() {
        let special: Vec<u32> = (0..990).collect();
        let ids = generate(&hyper(None), &special);
        assert_eq!(ids.len(), 256);
        assert!(ids.iter().all(|id| (990..1000).contains(id)), "{ids:?}");
        let distinct: BTreeSet<&u32> = ids.iter().collect();
        assert!(distinct.len() > 5, "{distinct:?}");
    }

    #[test]
    fn a_text_reaches_beyond_the_window_but_not_the_context() {
        assert_eq!(generate(&hyper(Some(1024)), &[]).len(), 1088);
        assert_eq!(generate(&hyper(Some(4096)), &[]).len(), 2048);
        let lens: Vec<usize> = pieces(&hyper(None), &[0; 1200]).map(<[u32]>::len).collect();
        assert_eq!(lens, [512, 512, 176]);
        let lens: Vec<usize> = pieces(&hyper(Some(1024)), &[0; 1200]).map(<[u32]>::len).collect();
        assert_eq!(lens, [1088, 112]);
    }
}
