//! The program's error: whose fault it is, and one line that says what, where and what to do.

use std::fmt;

use super::limits;

/// The result of anything that can fail.
pub type Result<T> = std::result::Result<T, Error>;

/// Whose fault an error is. Each kind has its own exit code, which scripts depend on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// The command line is wrong.
    Usage,
    /// The input is invalid or unsafe.
    Malformed,
    /// The input is valid, but this version does not do what is asked.
    Unsupported,
    /// A stated limit was reached.
    Limit,
    /// Reading or writing failed.
    Io,
    /// Something would be lost: a value, a tensor.
    Loss,
    /// A mistake in this program.
    Bug,
}

impl Fault {
    /// The exit code of the process.
    pub fn exit_code(self) -> u8 {
        match self {
            Self::Usage => 2,
            Self::Malformed => 3,
            Self::Unsupported => 4,
            Self::Limit => 5,
            Self::Io => 6,
            Self::Loss => 7,
            Self::Bug => 70,
        }
    }
}

/// A fault, and the line that is shown for it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Error {
    /// Whose fault it is.
    pub fault: Fault,
    message: String,
}

impl Error {
    /// An error of this kind with this message: what was found, expected, and what to do.
    pub fn new(fault: Fault, message: impl Into<String>) -> Self {
        Self { fault, message: message.into() }
    }

    /// The command line is wrong.
    pub fn usage(message: impl Into<String>) -> Self {
        Self::new(Fault::Usage, message)
    }

    /// The input is invalid or unsafe.
    pub fn malformed(message: impl Into<String>) -> Self {
        Self::new(Fault::Malformed, message)
    }

    /// The input is valid, but this version does not do what is asked.
    pub fn unsupported(message: impl Into<String>) -> Self {
        Self::new(Fault::Unsupported, message)
    }

    /// A stated limit was reached.
    pub fn limit(message: impl Into<String>) -> Self {
        Self::new(Fault::Limit, message)
    }

    /// The limit that `--limit` calls so was reached.
    pub fn above(limit: &'static str, message: impl fmt::Display) -> Self {
        Self::limit(format!("{message} ({})", limits::raise(limit)))
    }

    /// Reading or writing failed.
    pub fn io(message: impl Into<String>) -> Self {
        Self::new(Fault::Io, message)
    }

    /// Something would be lost.
    pub fn loss(message: impl Into<String>) -> Self {
        Self::new(Fault::Loss, message)
    }

    /// A mistake in this program.
    pub fn bug(message: impl Into<String>) -> Self {
        Self::new(Fault::Bug, message)
    }

    /// The same error, said of `place`: a file, a tensor, a field. A place is said once, however
    /// many layers know it.
    #[must_use]
    pub fn at(mut self, place: impl fmt::Display) -> Self {
        let place = format!("{place}: ");
        if !self.message.starts_with(&place) {
            self.message.insert_str(0, &place);
        }
        self
    }
}

/// One line whatever a file's names hold: control characters are escaped.
impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let line = escape(&self.message);
        let cut = |at: usize| (at..line.len()).find(|&i| line.is_char_boundary(i)).unwrap_or(at);
        if line.len() <= LINE_MAX {
            return f.write_str(&line);
        }
        let (head, tail) = (&line[..cut(LINE_MAX / 2)], &line[cut(line.len() - LINE_MAX / 2)..]);
        write!(f, "{head} … {tail}")
    }
}

/// Room for the names of all classes of a pickle, or of all tensors that cannot be read. A name in
/// a file may be 64 KiB long; the middle of such a line helps nobody.
const LINE_MAX: usize = 16 << 10;

impl std::error::Error for Error {}

impl From<wire::Error> for Error {
    fn from(mut error: wire::Error) -> Self {
        if let wire::Why::TooLarge { lift, .. } = &mut error.why {
            *lift = limits::raise(lift);
        }
        let fault = match error.class() {
            wire::Class::Malformed => Fault::Malformed,
            wire::Class::Unsupported => Fault::Unsupported,
            wire::Class::Limit => Fault::Limit,
            wire::Class::Io => Fault::Io,
        };
        Self::new(fault, error.to_string())
    }
}

/// `text` with control characters and line separators written as escapes, so that a name from
/// a file can neither break a line nor colour a terminal.
pub fn escape(text: &str) -> String {
    let is_safe = |c: char| !c.is_control() && !matches!(c, '\u{2028}' | '\u{2029}' | '\u{202e}');
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        if is_safe(c) {
            out.push(c);
        } else {
            out.extend(c.escape_default());
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_is_one_printable_line() {
        let error = Error::malformed("tensor 'a\u{1b}[31m\nb'").at("x.gguf");
        assert_eq!(error.to_string(), r"x.gguf: tensor 'a\u{1b}[31m\nb'");
    }
}
