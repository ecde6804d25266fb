//! Foreign text, made fit to be shown.

/// The text in quotes, control characters escaped, cut after 120 characters.
pub fn quoted(text: &str) -> String {
    const SHOWN: usize = 120;
    let mut out = String::from("'");
    let mut chars = text.chars();
    for c in chars.by_ref().take(SHOWN) {
        // Marks that reorder a line are as good as control characters for deceiving a reader.
        match c {
            '\u{202A}'..='\u{202E}' | '\u{2066}'..='\u{2069}' => out.extend(c.escape_unicode()),
            '\'' | '"' => out.push(c),
            _ => out.extend(c.escape_debug()),
        }
    }
    out.push('\'');
    if chars.next().is_some() {
        out.push('…');
    }
    out
}
