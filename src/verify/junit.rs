//! The report as JUnit's XML, which CI systems show: each gate is a test case.
//!
//! The format has no schema that all keep to, so
//! only what every reader knows is written.

use std::fmt::Write;

use super::report::number;
use super::{Gate, Report};

impl Report {
    /// The report as JUnit's XML.
    pub fn to_junit(&self) -> String {
        let failures = self.gates.iter().filter(|gate| !gate.pass).count();
        let (tests, suite) = (self.gates.len(), escape(&self.candidate));
        let mut out = String::from("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n");
        let counts = format!("tests=\"{tests}\" failures=\"{failures}\" errors=\"0\"");
        let _ = writeln!(out, "<testsuites name=\"remold verify\" {counts}>");
        let _ = writeln!(out, "  <testsuite name=\"{suite}\" {counts}>");
        for gate in &self.gates {
            self.case(gate, &mut out);
        }
        let _ = writeln!(out, "    <system-out>{}</system-out>", escape(&self.to_text(false)));
        out.push_str("  </testsuite>\n</testsuites>\n");
        out
    }

    fn case(&self, gate: &Gate, out: &mut String) {
        let name = escape(gate.name);
        let _ = write!(out, "    <testcase classname=\"remold.verify\" name=\"{name}\"");
        if gate.pass {
            out.push_str("/>\n");
            return;
        }
        let (value, limit) = (number(gate.value), number(gate.limit));
        let message = escape(&format!("{value}, limit {limit}: {}", gate.detail));
        let findings = self.findings.iter().filter(|found| found.gate == gate.name);
        let lines: Vec<String> = findings.map(ToString::to_string).collect();
        let lines = escape(&lines.join("\n"));
        let _ = writeln!(
            out,
            ">\n      <failure message=\"{message}\">{lines}</failure>\n    </testcase>"
        );
    }
}

/// Text for XML 1.0: five characters by their names, and what XML cannot hold by its number.
fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '&' => out.push_str("&amp;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&apos;"),
            '\n' | '\t' => out.push(c),
            // XML 1.0, production [2]: other control characters and two non-characters are not
            // allowed even as references.
            c if c.is_control() || matches!(c, '\u{fffe}' | '\u{ffff}') => {
                out.extend(c.escape_default());
            }
            c => out.push(c),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::escape;

    #[test]
    fn xml_holds_any_name() {
        assert_eq!(
            escape("a<b> & \"c\"\u{1b}'\n"),
            "a&lt;b&gt; &amp; &quot;c&quot;\\u{1b}&apos;\n"
        );
    }
}
