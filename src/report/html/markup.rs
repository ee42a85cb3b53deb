//! The only way to write markup: names of elements and attributes are constants of the program, everything else is escaped.

/// A page that grows.
#[derive(Debug, Default)]
pub struct Html {
    text: String,
    open: Vec<&'static str>,
    /// Where the list of sections goes.
    contents: Option<usize>,
    sections: Vec<(&'static str, &'static str)>,
}

/// Attributes of an element.
pub type Attributes<'a> = &'a [(&'static str, &'a str)];

impl Html {
    /// Text of the program itself, as it is.
    pub fn fixed(&mut self, text: &'static str) {
        self.text.push_str(text);
    }

    /// Opens an element.
    pub fn open(&mut self, tag: &'static str, attributes: Attributes<'_>) {
        self.start(tag, attributes);
        self.open.push(tag);
    }

    /// Closes the element that was opened last.
    pub fn close(&mut self) {
        if let Some(tag) = self.open.pop() {
            self.end(tag);
        }
    }

    /// An element without content.
    pub fn empty(&mut self, tag: &'static str, attributes: Attributes<'_>) {
        self.start(tag, attributes);
    }

    /// An element that holds text.
    pub fn leaf(&mut self, tag: &'static str, attributes: Attributes<'_>, text: &str) {
        self.start(tag, attributes);
        escape(text, &mut self.text);
        self.end(tag);
    }

    /// An element that holds what `inside` writes.
    pub fn within(&mut self, tag: &'static str, attributes: Attributes<'_>, inside: impl FnOnce(&mut Self)) {
        let depth = self.open.len();
        self.open(tag, attributes);
        inside(self);
        while self.open.len() > depth {
            self.close();
        }
    }

    /// The heading of a section, which the list of them names.
    pub fn section(&mut self, id: &'static str, name: &'static str) {
        self.leaf("h2", &[("id", id)], name);
        self.sections.push((id, name));
    }

    /// Here goes the list of all sections, those included that are not written yet.
    pub fn contents(&mut self) {
        self.contents = Some(self.text.len());
    }

    /// A table with a header row; cells are text.
    pub fn table(&mut self, caption: &str, header: &[&str], rows: &[Vec<String>]) {
        self.within(
            "div",
            &[("class", "scroll"), ("tabindex", "0"), ("role", "region"), ("aria-label", caption)],
            |h| {
                h.within("table", &[], |h| {
                    h.leaf("caption", &[], caption);
                    h.within("thead", &[], |h| {
                        h.within("tr", &[], |h| header.iter().for_each(|name| h.leaf("th", &[("scope", "col")], name)));
                    });
                    h.within("tbody", &[], |h| {
                        for row in rows {
                            h.within("tr", &[], |h| row.iter().for_each(|cell| h.cell(cell)));
                        }
                    });
                });
            },
        );
    }

    /// A cell of a table; a figure and its unit stay on one line.
    fn cell(&mut self, text: &str) {
        let class: Attributes<'_> = if text.chars().count() <= 16 { &[("class", "n")] } else { &[] };
        self.leaf("td", class, text);
    }

    /// All of it.
    pub fn finish(mut self) -> String {
        while !self.open.is_empty() {
            self.close();
        }
        if let Some(place) = self.contents {
            let mut list = Self::default();
            list.within("ul", &[], |h| {
                for (id, name) in self.sections {
                    h.within("li", &[], |h| h.leaf("a", &[("href", &format!("#{id}"))], name));
                }
            });
            self.text.insert_str(place, &list.text);
        }
        self.text
    }

    fn start(&mut self, tag: &'static str, attributes: Attributes<'_>) {
        self.text.push('<');
        self.text.push_str(tag);
        for (name, value) in attributes {
            self.text.push(' ');
            self.text.push_str(name);
            self.text.push_str("=\"");
            escape(value, &mut self.text);
            self.text.push('"');
        }
        self.text.push('>');
    }

    fn end(&mut self, tag: &'static str) {
        self.text.push_str("</");
        self.text.push_str(tag);
        self.text.push('>');
    }
}

fn escape(text: &str, out: &mut String) {
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            '\n' | '\t' => out.push(c),
            // Control characters are not allowed in HTML, and those that turn the direction of writing can make text lie.
            c if c.is_control() || ('\u{202a}'..='\u{202e}').contains(&c) || ('\u{2066}'..='\u{2069}').contains(&c) => {
                out.push('\u{fffd}');
            }
            c => out.push(c),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn text_stays_text() {
        let mut html = Html::default();
        html.leaf("p", &[("title", "\"><script>")], "<img src=x onerror='a'>&\u{0}\u{202e}");
        assert_eq!(
            html.finish(),
            "<p title=\"&quot;&gt;&lt;script&gt;\">&lt;img src=x onerror=&#39;a&#39;&gt;&amp;\u{fffd}\u{fffd}</p>"
        );
    }

    #[test]
    fn what_was_opened_is_closed() {
        let mut html = Html::default();
        html.within("main", &[], |html| html.open("p", &[]));
        html.open("footer", &[]);
        assert_eq!(html.finish(), "<main><p></p></main><footer></footer>");
    }

    #[test]
    fn the_list_of_sections_names_those_that_come_later() {
        let mut html = Html::default();
        html.within("nav", &[], Html::contents);
        html.section("a", "One & two");
        assert_eq!(
            html.finish(),
            "<nav><ul><li><a href=\"#a\">One &amp; two</a></li></ul></nav><h2 id=\"a\">One &amp; two</h2>"
        );
    }

    proptest! {
        #[test]
        fn nothing_escapes(text in "\\PC*") {
            let mut html = Html::default();
            html.leaf("p", &[("title", &text)], &text);
            let out = html.finish();
            prop_assert_eq!(out.matches('<').count(), 2);
            prop_assert_eq!(out.matches('>').count(), 2);
            prop_assert_eq!(out.matches('"').count(), 2);
        }
    }
}
