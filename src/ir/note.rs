//! What a conversion did that its user should know: each loss, each choice made for them.

use std::fmt;

use indexmap::IndexSet;

/// Why a note was written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum NoteKind {
    /// Something of the source has no place in the target.
    Lost,
    /// Something was decided that the user did not ask for.
    Chosen,
    /// The source is odd, but was read.
    Odd,
}

/// One thing that the user should know.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Note {
    /// Why it was written.
    pub kind: NoteKind,
    /// The file, tensor or field that it is about.
    pub subject: String,
    /// What happened, and what can be done.
    pub text: String,
}

impl fmt::Display for Note {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", super::error::escape(&self.subject), super::error::escape(&self.text))
    }
}

/// All notes of a run, in the order of their writing. `--strict` makes any note an error.
#[derive(Debug, Clone, Default)]
pub struct Notes(IndexSet<Note>);

impl Notes {
    /// Something of the source has no place in the target.
    pub fn lost(&mut self, subject: impl Into<String>, text: impl Into<String>) {
        self.add(NoteKind::Lost, subject.into(), text.into());
    }

    /// Something was decided that the user did not ask for.
    pub fn chosen(&mut self, subject: impl Into<String>, text: impl Into<String>) {
        self.add(NoteKind::Chosen, subject.into(), text.into());
    }

    /// The source is odd, but was read.
    pub fn odd(&mut self, subject: impl Into<String>, text: impl Into<String>) {
        self.add(NoteKind::Odd, subject.into(), text.into());
    }

    /// The same thing said twice is said once: readers and writers may meet one oddity both.
    fn add(&mut self, kind: NoteKind, subject: String, text: String) {
        self.0.insert(Note { kind, subject, text });
    }

    /// The notes, oldest first.
    pub fn iter(&self) -> impl Iterator<Item = &Note> {
        self.0.iter()
    }

    /// Whether there is nothing to say.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }
}
