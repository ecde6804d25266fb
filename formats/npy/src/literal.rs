//! The header: the few forms of Python's literals that numpy writes, and no others.
//!
//! ```text
//! header = "{" [ field { "," field } [ "," ] ] "}"      spaces between any two tokens
//! field  = text ":" ( text | "True" | "False" | "(" [ number { "," number } [ "," ] ] ")" )
//! text   = "'" … "'" | '"' … '"'                        without backslashes
//! ```
//!
//! Nothing nests, so nothing recurses.

use wire::{Error, Result, Why};

use crate::{Descr, RANK_MAX};

/// What a header says.
#[derive(Debug)]
pub(crate) struct Header {
    pub(crate) descr: Descr,
    pub(crate) fortran: bool,
    pub(crate) shape: Vec<u64>,
}

/// Reads the header `text`, which begins at byte `start` of the file.
pub(crate) fn parse(text: &[u8], start: u64) -> Result<Header> {
    let mut literal = Literal { rest: text, end: start.saturating_add(text.len() as u64) };
    let (mut descr, mut fortran, mut shape) = (None, None, None);
    literal.expect(b'{')?;
    while !literal.accept(b'}') {
        let at = literal.place();
        let key = literal.text("header key")?;
        literal.expect(b':')?;
        let is_again = match key {
            "descr" => descr.replace(literal.descr()?).is_some(),
            "fortran_order" => fortran.replace(literal.truth()?).is_some(),
            "shape" => shape.replace(literal.shape()?).is_some(),
            _ => {
                let value = format!("{:?}", key.chars().take(40).collect::<String>());
                return Err(Error::new(at, "header key", Why::Unknown { value }));
            }
        };
        if is_again {
            return Err(Error::invalid(at, "header", format!("the key {key:?} stands twice")));
        }
        if !literal.accept(b',') {
            literal.expect(b'}')?;
            break;
        }
    }
    literal.finish()?;
    let missing = |key| move || Error::invalid(start, "header", format!("it has no {key:?}"));
    Ok(Header {
        descr: descr.ok_or_else(missing("descr"))?,
        fortran: fortran.ok_or_else(missing("fortran_order"))?,
        shape: shape.ok_or_else(missing("shape"))?,
    })
}

struct Literal<'a> {
    rest: &'a [u8],
    /// Byte offset, in the file, of the end of `rest`.
    end: u64,
}

impl<'a> Literal<'a> {
    /// Byte offset, in the file, of the next token.
    fn place(&mut self) -> u64 {
        self.rest = self.rest.trim_ascii_start();
        self.end.saturating_sub(self.rest.len() as u64)
    }

    fn accept(&mut self, byte: u8) -> bool {
        self.place();
        let after = self.rest.strip_prefix(&[byte]);
        self.rest = after.unwrap_or(self.rest);
        after.is_some()
    }

    fn expect(&mut self, byte: u8) -> Result<()> {
        if self.accept(byte) {
            return Ok(());
        }
        Err(self.wanted("header", &format!("{:?}", char::from(byte))))
    }

    /// The error of a token that is not what was wanted.
    fn wanted(&mut self, what: &'static str, expected: &str) -> Error {
        let at = self.place();
        let next = self.rest.get(..self.rest.len().min(20)).unwrap_or_default();
        let found = match next {
            [] => "the end of the header".to_owned(),
            next => format!("{:?}", String::from_utf8_lossy(next.trim_ascii_end())),
        };
        Error::new(at, what, Why::Mismatch { found, expected: expected.to_owned() })
    }

    fn text(&mut self, what: &'static str) -> Result<&'a str> {
        self.place();
        let inside = match self.rest.split_first() {
            Some((&quote @ (b'\'' | b'"'), after)) => {
                let is_end = |&b: &u8| b == quote;
                after.iter().position(is_end).and_then(|end| after.split_at_checked(end))
            }
            _ => None,
        };
        let plain = |text: &&[u8]| text.iter().all(|b| (b' '..=b'~').contains(b) && *b != b'\\');
        match inside
            .filter(|(text, _)| plain(text))
            .map(|(text, after)| (std::str::from_utf8(text), after.get(1..).unwrap_or_default()))
        {
            Some((Ok(text), after)) => {
                self.rest = after;
                Ok(text)
            }
            _ => Err(self.wanted(what, "text in quotes, in plain ASCII")),
        }
    }

    fn descr(&mut self) -> Result<Descr> {
        let at = self.place();
        if self.rest.starts_with(b"[") || self.rest.starts_with(b"(") {
            let feature = "elements that are structures; save each field as an array";
            return Err(Error::unsupported(at, "descr", feature));
        }
        Descr::parse(self.text("descr")?).map_err(|why| Error::new(at, "descr", why))
    }

    fn truth(&mut self) -> Result<bool> {
        self.place();
        for (word, truth) in [(&b"True"[..], true), (b"False", false)] {
            if let Some(after) = self.rest.strip_prefix(word) {
                self.rest = after;
                return Ok(truth);
            }
        }
        Err(self.wanted("fortran_order", "True or False"))
    }

    fn shape(&mut self) -> Result<Vec<u64>> {
        let mut shape = Vec::new();
        let at = self.place();
        if !self.accept(b'(') {
            return Err(self.wanted("shape", "a tuple such as (2, 3)"));
        }
        while !self.accept(b')') {
            shape.push(self.number()?);
            if shape.len() > RANK_MAX {
                let rule =
                    format!("more than {RANK_MAX} dimensions, which is what NumPy has at most");
                return Err(Error::invalid(at, "shape", rule));
            }
            let comma = self.accept(b',');
            if !comma && shape.len() == 1 {
                // Python reads (3) as a number in parentheses.
                return Err(self.wanted("shape", "',': a tuple of one ends in a comma"));
            }
            if !comma && !self.accept(b')') {
                return Err(self.wanted("shape", "',' or ')'"));
            }
            if !comma {
                break;
            }
        }
        Ok(shape)
    }

    fn number(&mut self) -> Result<u64> {
        self.place();
        let digits = self.rest.iter().take_while(|b| b.is_ascii_digit()).count();
        let (number, after) = self.rest.split_at_checked(digits).unwrap_or_default();
        // Python knows no number with a zero before other digits.
        let is_plain = number.first() != Some(&b'0') || number.len() == 1;
        let value = std::str::from_utf8(number).ok().and_then(|text| text.parse().ok());
        match value.filter(|_| is_plain) {
            Some(value) => {
                // Python 2 wrote its long integers as 3L.
                self.rest = after.strip_prefix(b"L").unwrap_or(after);
                Ok(value)
            }
            None => Err(self.wanted("shape", "an integer from 0 to 2^64 - 1")),
        }
    }

    /// Only spaces and newlines may follow.
    fn finish(mut self) -> Result<()> {
        self.place();
        if self.rest.is_empty() {
            Ok(())
        } else {
            Err(self.wanted("header", "only spaces after }"))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shape(text: &str) -> Result<Vec<u64>> {
        let header = format!("{{'descr': '<f4', 'fortran_order': False, 'shape': {text}, }}");
        parse(header.as_bytes(), 10).map(|header| header.shape)
    }

    #[test]
    fn tuples_as_python_reads_them() {
        assert_eq!(shape("()"), Ok(vec![]));
        assert_eq!(shape("(3,)"), Ok(vec![3]));
        assert_eq!(shape("( 2 ,3, 0 )"), Ok(vec![2, 3, 0]));
        assert_eq!(shape("(2L, 3L,)"), Ok(vec![2, 3]));
        assert_eq!(shape("(18446744073709551615,)"), Ok(vec![u64::MAX]));
    }

    #[test]
    fn other_shapes_are_refused_at_their_place() {
        for text in [
            "3",
            "(3)",
            "[3]",
            "(-3,)",
            "(+3,)",
            "(03,)",
            "(0x3,)",
            "(3.0,)",
            "(3_0,)",
            "(True,)",
            "(,)",
            "(3,,)",
            "((3,),)",
            "(3 4)",
            "(18446744073709551616,)",
            "None",
            "(3",
            "'3'",
        ] {
            let error = shape(text).unwrap_err();
            assert_eq!(error.what, "shape", "{text}: {error}");
            assert!((60..80).contains(&error.offset), "{text}: {error}");
        }
        let long = format!("({})", "1,".repeat(RANK_MAX + 1));
        assert_eq!(shape(&long).unwrap_err().what, "shape");
    }

    #[test]
    fn other_headers_are_refused() {
        for text in [
            "",
            "{}",
            "[]",
            "{'descr': '<f4'}",
            "{'descr': '<f4', 'fortran_order': False, 'shape': (), 'shape': ()}",
            "{'descr': '<f4', 'fortran_order': False, 'shape': (), 'x': 1}",
            "{'descr': '<f4', 'fortran_order': 0, 'shape': ()}",
            "{'descr': '\\x3cf4', 'fortran_order': False, 'shape': ()}",
            "{'descr': ('<f4', (2,)), 'fortran_order': False, 'shape': ()}",
            "{'descr': '<f4', 'fortran_order': False, 'shape': ()}\0",
            "{'descr': '<f4', 'fortran_order': False, 'shape': ()} + 1",
            "{'descr': '<f4' 'fortran_order': False, 'shape': ()}",
            "{,}",
        ] {
            parse(text.as_bytes(), 0).unwrap_err();
        }
        parse("(".repeat(50_000).as_bytes(), 0).unwrap_err();
    }
}
