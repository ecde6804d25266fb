//! What went wrong, while reading what, and where.

use std::borrow::Cow;
use std::fmt;

/// The result of reading a container.
pub type Result<T> = std::result::Result<T, Error>;

/// What went wrong, while reading what, and where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Error {
    /// Byte offset, from the start of the file, of the field at fault.
    pub offset: u64,
    /// The field, in the words of the format's specification.
    pub what: Cow<'static, str>,
    /// The fault.
    pub why: Why,
}

/// The fault itself: what was found, and what would have been right.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Why {
    /// The file ends before the field does.
    Truncated {
        /// Bytes that the field needs.
        need: u64,
        /// Bytes that remain.
        have: u64,
    },
    /// A number is above a stated limit.
    TooLarge {
        /// The number found.
        value: u64,
        /// The largest that is accepted.
        max: u64,
        /// The limit, by its name in the reader's limits, if a caller can raise it; else what
        /// fixes it.
        lift: &'static str,
    },
    /// A code that the specification does not list.
    Unknown {
        /// The code found.
        value: String,
    },
    /// A rule of the format is broken; the text states the rule and what was found.
    Invalid {
        /// The rule, with what was found.
        rule: String,
    },
    /// Two statements of the file contradict each other.
    Mismatch {
        /// What was found.
        found: String,
        /// What was expected.
        expected: String,
    },
    /// Valid, but not read by this version.
    Unsupported {
        /// The feature, and what to do instead.
        feature: String,
    },
    /// The operating system refused to read.
    Io {
        /// Its words.
        cause: String,
    },
}

/// Whose fault an error is; a program derives its exit code from it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Class {
    /// The bytes break the format.
    Malformed,
    /// The bytes are right, but this version does not read them.
    Unsupported,
    /// A stated limit was reached.
    Limit,
    /// Reading failed.
    Io,
}

impl Error {
    /// An error at `offset`, in the field `what`.
    pub fn new(offset: u64, what: impl Into<Cow<'static, str>>, why: Why) -> Self {
        Self { offset, what: what.into(), why }
    }

    /// A broken rule of the format.
    pub fn invalid(
        offset: u64,
        what: impl Into<Cow<'static, str>>,
        rule: impl Into<String>,
    ) -> Self {
        Self::new(offset, what, Why::Invalid { rule: rule.into() })
    }

    /// Something valid that is not read.
    pub fn unsupported(
        offset: u64,
        what: impl Into<Cow<'static, str>>,
        feature: impl Into<String>,
    ) -> Self {
        Self::new(offset, what, Why::Unsupported { feature: feature.into() })
    }

    /// Whose fault it is.
    pub fn class(&self) -> Class {
        match self.why {
            Why::Unsupported { .. } => Class::Unsupported,
            Why::TooLarge { .. } => Class::Limit,
            Why::Io { .. } => Class::Io,
            _ => Class::Malformed,
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} (byte {:#x}): ", self.what, self.offset)?;
        match &self.why {
            Why::Truncated { need, have } => {
                write!(f, "needs {need} bytes, but {have} remain: the file is cut short or damaged")
            }
            Why::TooLarge { value, max, lift } => {
                write!(f, "found {value}, expected at most {max} ({lift})")
            }
            Why::Unknown { value } => write!(f, "found {value}, which is not a known value"),
            Why::Invalid { rule } => f.write_str(rule),
            Why::Mismatch { found, expected } => write!(f, "found {found}, expected {expected}"),
            Why::Unsupported { feature } => write!(f, "unsupported: {feature}"),
            Why::Io { cause } => write!(f, "reading failed: {cause}"),
        }
    }
}

impl std::error::Error for Error {}
