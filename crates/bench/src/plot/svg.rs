//! SVG as text: elements, numbers with one decimal, text with its five dangerous characters replaced.

use std::fmt::Write;

/// A document that grows.
pub struct Document {
    text: String,
    open: Vec<&'static str>,
}

impl Document {
    /// A picture of `width` by `height` with a title and a description for those who do not see it.
    pub fn new(width: f64, height: f64, title: &str, style: &str) -> Self {
        let mut document = Self { text: String::new(), open: Vec::new() };
        let view = format!("0 0 {} {}", number(width), number(height));
        let (width, height) = (number(width), number(height));
        document.begin(
            "svg",
            &[
                ("xmlns", "http://www.w3.org/2000/svg"),
                ("viewBox", &view),
                ("width", &width),
                ("height", &height),
                ("role", "img"),
            ],
        );
        document.text("title", &[], title);
        document.text("style", &[], style);
        document
    }

    /// An element without content.
    pub fn element(&mut self, name: &str, attributes: &[(&str, &str)]) {
        self.tag(name, attributes, "/>\n");
    }

    /// An element with nothing but text in it.
    pub fn text(&mut self, name: &str, attributes: &[(&str, &str)], text: &str) {
        self.tag(name, attributes, ">");
        let _ = writeln!(self.text, "{}</{name}>", escaped(text));
    }

    /// An element that stays open until [`Document::end`].
    pub fn begin(&mut self, name: &'static str, attributes: &[(&str, &str)]) {
        self.tag(name, attributes, ">\n");
        self.open.push(name);
    }

    /// Closes the element that was begun last.
    pub fn end(&mut self) {
        if let Some(name) = self.open.pop() {
            self.indent();
            let _ = writeln!(self.text, "</{name}>");
        }
    }

    /// The whole text.
    pub fn finish(mut self) -> String {
        while !self.open.is_empty() {
            self.end();
        }
        self.text
    }

    fn tag(&mut self, name: &str, attributes: &[(&str, &str)], end: &str) {
        self.indent();
        let _ = write!(self.text, "<{name}");
        for (key, value) in attributes {
            let _ = write!(self.text, " {key}=\"{}\"", escaped(value));
        }
        self.text += end;
    }

    fn indent(&mut self) {
        (0..self.open.len()).for_each(|_| self.text.push(' '));
    }
}

/// A coordinate: one decimal is a tenth of a pixel.
pub fn number(value: f64) -> String {
    let text = format!("{value:.1}");
    let text = text.strip_suffix(".0").unwrap_or(&text);
    if text == "-0" { "0".to_owned() } else { text.to_owned() }
}

/// Text that is nothing but text in any place of a document.
fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out += "&amp;",
            '<' => out += "&lt;",
            '>' => out += "&gt;",
            '"' => out += "&quot;",
            '\'' => out += "&#39;",
            // XML has no way to write these.
            c if c.is_control() => out.push(' '),
            c => out.push(c),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_cannot_end_its_element_or_attribute() {
        let mut document = Document::new(10.0, 10.5, "a<b & \"c\"", "");
        document.element("rect", &[("x", "\"/><script>")]);
        let text = document.finish();
        assert!(text.contains("<title>a&lt;b &amp; &quot;c&quot;</title>"), "{text}");
        assert!(text.contains("x=\"&quot;/&gt;&lt;script&gt;\""), "{text}");
        assert!(text.contains("viewBox=\"0 0 10 10.5\""), "{text}");
        assert!(text.ends_with("</svg>\n"));
    }

    #[test]
    fn numbers_have_one_decimal_at_the_most() {
        assert_eq!([number(1.0), number(1.26), number(-0.04), number(1e4)], ["1", "1.3", "0", "10000"]);
    }
}
