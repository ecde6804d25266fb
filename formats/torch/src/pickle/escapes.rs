//! Escapes of the line protocol.
//!
//! Source: `raw-unicode-escape` of CPython's `Objects/unicodeobject.c`, and
//! `_PyBytes_DecodeEscape` of `Objects/bytesobject.c`.

/// What stands between the quotes.
pub(super) fn unquoted(line: &[u8]) -> Option<&[u8]> {
    let within = |quote: &[u8]| line.strip_prefix(quote)?.strip_suffix(quote);
    within(b"'").or_else(|| within(b"\""))
}

/// Bytes of Latin-1 with `\uXXXX` and `\UXXXXXXXX`; no other backslash means anything.
pub(super) fn unicode(line: &[u8]) -> Option<String> {
    let mut text = String::with_capacity(line.len());
    let mut rest = line;
    while let [byte, after @ ..] = rest {
        let digits = match after.first() {
            Some(b'u') if *byte == b'\\' => 4,
            Some(b'U') if *byte == b'\\' => 8,
            _ => {
                text.push(char::from(*byte));
                // A backslash before it takes the meaning from the next one.
                let escaped = *byte == b'\\' && after.first() == Some(&b'\\');
                rest = after.get(usize::from(escaped)..)?;
                text.extend(escaped.then_some('\\'));
                continue;
            }
        };
        let (code, later) = after.get(1..)?.split_at_checked(digits)?;
        text.push(char::from_u32(number(code, 16)?)?);
        rest = later;
    }
    Some(text)
}

/// The bytes that a quoted string of Python 2 stands for.
pub(super) fn bytes(quoted: &[u8]) -> Option<Vec<u8>> {
    let mut out = Vec::with_capacity(quoted.len());
    let mut rest = quoted;
    while let [byte, after @ ..] = rest {
        rest = after;
        if *byte != b'\\' {
            out.push(*byte);
            continue;
        }
        let (&kind, later) = after.split_first()?;
        let plain = match kind {
            b'\\' | b'\'' | b'"' => kind,
            b'a' => 0x07,
            b'b' => 0x08,
            b'f' => 0x0c,
            b'n' => b'\n',
            b'r' => b'\r',
            b't' => b'\t',
            b'v' => 0x0b,
            b'x' => {
                let (digits, later) = later.split_at_checked(2)?;
                out.push(u8::try_from(number(digits, 16)?).ok()?);
                rest = later;
                continue;
            }
            b'0'..=b'7' => {
                let len = after.iter().take(3).take_while(|b| matches!(b, b'0'..=b'7')).count();
                let (digits, later) = after.split_at_checked(len)?;
                // Three digits may pass a byte; Python keeps the lower eight bits.
                out.push(number(digits, 8)?.to_le_bytes()[0]);
                rest = later;
                continue;
            }
            // Any other keeps its backslash.
            _ => {
                out.push(b'\\');
                kind
            }
        };
        out.push(plain);
        rest = later;
    }
    Some(out)
}

fn number(digits: &[u8], radix: u32) -> Option<u32> {
    let digits = digits.iter().all(u8::is_ascii_hexdigit).then_some(digits)?;
    u32::from_str_radix(std::str::from_utf8(digits).ok()?, radix).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As `bytes.decode('raw-unicode-escape')` of CPython 3.11 has it.
    #[test]
    fn text_of_unicode() {
        for (line, text) in [
            (b"gr\xf6\xdfe".as_slice(), "größe"),
            (b"\\u000a\\U0001f600\\n", "\n😀\\n"),
            (b"\\\\u0041", "\\\\u0041"),
            (b"a\\", "a\\"),
        ] {
            assert_eq!(unicode(line).as_deref(), Some(text));
        }
        for bad in [b"\\u12".as_slice(), b"\\uzzzz", b"\\Uffffffff", b"\\ud800", b"\\u+123"] {
            assert_eq!(unicode(bad), None);
        }
    }

    /// As `codecs.escape_decode` of CPython 3.11 has it.
    #[test]
    fn strings_of_python_2() {
        let plain = bytes(br#"a\'\"\\\n\t\x41\101\0\q"#);
        assert_eq!(plain.as_deref(), Some(b"a'\"\\\n\tAA\0\\q".as_slice()));
        assert_eq!(bytes(br"\x4").as_deref(), None);
        assert_eq!(bytes(br"a\"), None);
        assert_eq!(unquoted(b"'a\""), None);
        assert_eq!(unquoted(b"\"a'\""), Some(b"a'".as_slice()));
    }
}
