//! A tokenizer of the hub as a GGUF file states it. What such a file has no place for is left out,
//! or taken as the GGUF file beside it has it; that is told. A difference that no conversion makes
//! stays one.

use std::collections::BTreeSet;

use crate::ir::Result;
use crate::ir::tokenizer::normal::Bert;
use crate::ir::tokenizer::wordpiece::bert;
use crate::ir::tokenizer::{
    Added, Bpe, Class, Kind, Role, Space, Spelling, Spm, Step, Text, Tokenizer, Unigram, WordPiece,
    spm,
};

/// The tokenizer as a GGUF file would state it, and what that leaves out.
///
/// # Errors
/// None that the tests would let pass: those of patterns that are ours.
pub(super) fn as_in_gguf(
    hub: &Tokenizer,
    gguf: &Tokenizer,
) -> Result<(Tokenizer, Vec<&'static str>)> {
    let mut out = Told { tokenizer: hub.clone(), lost: Vec::new() };
    out.ends(gguf);
    out.tokens(gguf);
    let mut kind = out.tokenizer.kind.clone();
    match (&mut kind, &gguf.kind) {
        (Kind::Bpe(theirs), Kind::Bpe(ours)) => out.bpe(theirs, ours),
        (Kind::Spm(theirs), Kind::Spm(ours)) => out.spm(theirs, ours),
        (Kind::Unigram(theirs), Kind::Unigram(ours)) => out.unigram(theirs, ours)?,
        (Kind::WordPiece(theirs), Kind::WordPiece(ours)) => out.wordpiece(theirs, ours)?,
        // Of two kinds, nothing else need be compared.
        _ => {}
    }
    Ok((Tokenizer { kind, ..out.tokenizer }, out.lost))
}

struct Told {
    tokenizer: Tokenizer,
    lost: Vec<&'static str>,
}

impl Told {
    fn lose(&mut self, is_lost: bool, what: &'static str) {
        if is_lost {
            self.lost.push(what);
        }
    }

    /// BOS before a text, one id after it, which is EOS there; what was EOS ends a turn.
    fn ends(&mut self, gguf: &Tokenizer) {
        let hub = &mut self.tokenizer;
        let (first, last) = (hub.prefix.first().copied(), hub.suffix.last().copied());
        let is_wordpiece = matches!(hub.kind, Kind::WordPiece(_));
        let bos = match is_wordpiece {
            true => first,
            false => hub.role(Role::Bos).filter(|bos| hub.prefix.contains(bos)),
        };
        let mut eos = last;
        if hub.adds_eos() {
            eos = hub.role(Role::Eos);
        } else if let Some(last) = last
            && let Some(old) = hub.special.insert(Role::Eos, last)
        {
            hub.special.entry(Role::Eot).or_insert(old);
        }
        if is_wordpiece {
            hub.special.extend(first.map(|first| (Role::Bos, first)));
            // llama.cpp ends a text with the separator, whatever is said of EOS.
            eos = hub.role(Role::Sep).or(gguf.role(Role::Sep));
        }
        let (prefix, suffix): (Vec<u32>, Vec<u32>) =
            (bos.into_iter().collect(), eos.into_iter().collect());
        let is_lost = hub.prefix != prefix || hub.suffix != suffix;
        (hub.prefix, hub.suffix) = (prefix, suffix);
        self.lose(is_lost, "ids other than BOS and EOS around a text");
    }

    /// What is cut out of a text follows from the types of tokens. Who steers is not told from the
    /// unknown token by all files; what is never cut may be written as text.
    fn tokens(&mut self, gguf: &Tokenizer) {
        let steers = |class| matches!(class, Class::Control | Class::Unknown);
        let hub = &mut self.tokenizer;
        let spells_space = matches!(hub.kind, Kind::Spm(_) | Kind::Unigram(_));
        for added in hub.added.iter().filter(|added| spells_space && added.normalized) {
            let text = &mut hub.tokens[added.id as usize].text;
            *text = text.replace(spm::SPACE, " ");
        }
        let plain = hub.added.iter().filter(|added| !added.special).map(|added| added.id);
        let plain: BTreeSet<u32> = plain.collect();
        for (id, (theirs, ours)) in (0..).zip(hub.tokens.iter_mut().zip(&gguf.tokens)) {
            let is_same = match (theirs.class, ours.class) {
                (Class::UserDefined, Class::Normal) => true,
                // That it steers is what its text looks like, not what the file says.
                (Class::Control, Class::UserDefined) => plain.contains(&id),
                (theirs, ours) => steers(theirs) && steers(ours),
            };
            if is_same {
                theirs.class = ours.class;
            }
        }
        let flagged = |added: &Added| added.lstrip || added.rstrip || added.single_word;
        let is_lost = hub.added.iter().any(flagged);
        hub.added = Added::by_class(&hub.tokens);
        self.lose(is_lost, "lstrip, rstrip and single_word of added tokens");
    }

    fn bpe(&mut self, hub: &mut Bpe, gguf: &Bpe) {
        self.lose(!hub.pre.normal.is_empty(), "the normalizer");
        hub.pre.normal.clear();
        (hub.unknown, hub.fuse_unknown) = (None, false);
        let spaced = hub.pre.steps.contains(&Step::PrefixSpace);
        if spaced && !gguf.pre.steps.contains(&Step::PrefixSpace) {
            hub.pre.steps.retain(|step| *step != Step::PrefixSpace);
            self.lose(true, "a space before the text");
        }
    }

    fn spm(&mut self, hub: &mut Spm, gguf: &Spm) {
        self.lose(hub.spelling.charsmap.take().is_some(), "rules of normalization");
        self.spelling(&mut hub.spelling, &gguf.spelling);
        hub.unknown = hub.unknown.or(gguf.unknown);
    }

    /// The space stands before every part of a text, or nowhere.
    fn spelling(&mut self, hub: &mut Spelling, gguf: &Spelling) {
        let is_lost = hub.space.is_some_and(|space| space != Space::default());
        hub.space = hub.space.map(|_| Space::default());
        self.lose(is_lost, "where within a text spaces are put");
        if hub.squeeze && !gguf.squeeze {
            hub.squeeze = false;
            self.lose(true, "runs of spaces that become one");
        }
    }

    fn unigram(&mut self, hub: &mut Unigram, gguf: &Unigram) -> Result<()> {
        let (mut spelling, is_whole) = hub.spelling()?;
        self.lose(!is_whole, "the normalizer");
        if let Text::Spelled(theirs) = &gguf.text {
            self.spelling(&mut spelling, theirs);
        }
        hub.text = Text::Spelled(spelling);
        hub.single = false;
        hub.unknown = hub.unknown.or(gguf.unknown);
        for score in &mut hub.scores {
            *score = f64::from(*score as f32);
        }
        Ok(())
    }

    fn wordpiece(&mut self, hub: &mut WordPiece, gguf: &WordPiece) -> Result<()> {
        self.lose(!hub.cuts_as_bert()?, "the normalizer");
        let (lowercase, strip_accents) = hub.cases();
        hub.pre = bert(Bert { clean: true, han: true, strip_accents, lowercase })?;
        self.lose(hub.letters_max != gguf.letters_max, "the longest word that is spelled");
        self.lose(hub.cleanup != gguf.cleanup, "how decoded text is cleaned up");
        (hub.letters_max, hub.cleanup) = (gguf.letters_max, gguf.cleanup);
        hub.unknown = hub.unknown.or(gguf.unknown);
        Ok(())
    }
}
