//! Figures as self-contained pages: inline SVG that shows each value under the pointer, and the data
//! beside it. Nothing is fetched, and nothing is run.

mod axis;
mod plot;

use std::fmt::Write as _;

use serde::Serialize;
use serde_json::json;

pub use plot::Axes;

const STYLE: &str = include_str!("style.css");

/// A page of sections.
#[derive(Default)]
pub struct Page {
    title: String,
    intro: String,
    headings: Vec<String>,
    body: String,
}

/// A cell of a table: text, part of which may be marked.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Cell {
    before: String,
    marked: String,
    after: String,
}

impl Cell {
    /// Text with a marked part, such as the token on which a feature fires.
    pub fn marked(before: &str, marked: &str, after: &str) -> Self {
        let [before, marked, after] = [before, marked, after].map(str::to_owned);
        Self { before, marked, after }
    }

    fn html(&self) -> String {
        let mut html = escape(&self.before);
        if !self.marked.is_empty() {
            html += &format!("<b>{}</b>{}", escape(&self.marked), escape(&self.after));
        }
        html
    }

    /// A number, perhaps with a per cent sign or a sign of its own.
    fn is_number(&self) -> bool {
        let text = self.before.trim_end_matches(['%', ' ']);
        self.marked.is_empty() && text.parse::<f64>().is_ok()
    }
}

impl<T: Into<String>> From<T> for Cell {
    fn from(text: T) -> Self {
        Self { before: text.into(), ..Self::default() }
    }
}

/// Text that may stand anywhere in a page.
pub fn escape(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '<' => safe.push_str("&lt;"),
            '>' => safe.push_str("&gt;"),
            '&' => safe.push_str("&amp;"),
            '"' => safe.push_str("&quot;"),
            '\'' => safe.push_str("&#39;"),
            c => safe.push(c),
        }
    }
    safe
}

impl Page {
    /// An empty page.
    pub fn new(title: &str) -> Self {
        Self { title: title.to_owned(), ..Self::default() }
    }

    /// What stands below the title.
    #[must_use]
    pub fn intro(mut self, text: &str) -> Self {
        self.intro.push_str(&format!("<p>{}</p>\n", escape(text)));
        self
    }

    /// A heading and what it is about.
    #[must_use]
    pub fn section(mut self, heading: &str, text: &str) -> Self {
        self.headings.push(heading.to_owned());
        let (number, heading) = (self.headings.len(), escape(heading));
        self.body.push_str(&format!("<h2 id=\"s{number}\">{heading}</h2>\n"));
        self.text(text)
    }

    /// A paragraph.
    #[must_use]
    pub fn text(mut self, text: &str) -> Self {
        self.body.push_str(&format!("<p>{}</p>\n", escape(text)));
        self
    }

    /// Words that somebody, or a model, said; `who` stands above them.
    #[must_use]
    pub fn quote(mut self, who: &str, words: &str) -> Self {
        let (who, words) = (escape(who), escape(words));
        self.body.push_str(&format!("<blockquote><b>{who}</b>{words}</blockquote>\n"));
        self
    }

    /// A table; columns of numbers are set to the right.
    #[must_use]
    pub fn table(mut self, header: &[&str], rows: &[Vec<Cell>]) -> Self {
        let number = |column: usize| {
            let mut cells = rows.iter().filter_map(|row| row.get(column));
            !rows.is_empty() && cells.all(Cell::is_number)
        };
        let class: Vec<&str> = (0..header.len())
            .map(|column| if number(column) { " class=\"number\"" } else { "" })
            .collect();
        let class = |column: usize| class.get(column).copied().unwrap_or_default();
        let mut html = String::from("<div class=\"wide\"><table><thead><tr>");
        // (Writing to a String cannot fail.)
        for (column, cell) in header.iter().enumerate() {
            let _ = write!(html, "<th{}>{}</th>", class(column), escape(cell));
        }
        html.push_str("</tr></thead><tbody>\n");
        for row in rows {
            html.push_str("<tr>");
            for (column, cell) in row.iter().enumerate() {
                let _ = write!(html, "<td{}>{}</td>", class(column), cell.html());
            }
            html.push_str("</tr>\n");
        }
        html.push_str("</tbody></table></div>\n");
        self.body.push_str(&html);
        self
    }

    /// Bars one below the other, each with its label, in the order given; `x` is what they measure.
    #[must_use]
    pub fn bars(mut self, caption: &str, x: &str, labels: &[String], values: &[f64]) -> Self {
        self.body.push_str(&plot::bars(caption, x, labels, values));
        self.data(&json!({ "caption": caption, "x": x, "labels": labels, "values": values }))
    }

    /// Counts in equal bins over the range `low` to `high`.
    #[must_use]
    pub fn histogram(mut self, axes: Axes<'_>, (low, high): (f64, f64), counts: &[u64]) -> Self {
        self.body.push_str(&plot::histogram(axes, (low, high), counts));
        let Axes { caption, x, y } = axes;
        self.data(
            &json!({ "caption": caption, "x": x, "y": y, "range": [low, high], "counts": counts }),
        )
    }

    /// Points with labels.
    #[must_use]
    pub fn scatter(mut self, axes: Axes<'_>, labels: &[String], points: &[(f64, f64)]) -> Self {
        self.body.push_str(&plot::scatter(axes, labels, points));
        let Axes { caption, x, y } = axes;
        self.data(
            &json!({ "caption": caption, "x": x, "y": y, "labels": labels, "points": points }),
        )
    }

    /// A line through points, from left to right.
    #[must_use]
    pub fn line(mut self, axes: Axes<'_>, points: &[(f64, f64)]) -> Self {
        self.body.push_str(&plot::line(axes, points));
        let Axes { caption, x, y } = axes;
        self.data(&json!({ "caption": caption, "x": x, "y": y, "points": points }))
    }

    /// Data that a program can read: an element `script` of type `application/json`.
    #[must_use]
    pub fn data(mut self, data: &impl Serialize) -> Self {
        let text = serde_json::to_string(data).unwrap_or_else(|_| "null".to_owned());
        // Inside a script only `<` could end it.
        let text = text.replace('<', "\\u003c");
        self.body.push_str(&format!("<script type=\"application/json\">{text}</script>\n"));
        self
    }

    /// The page as HTML.
    pub fn html(&self) -> String {
        let title = escape(&self.title);
        let entries: String = (1..)
            .zip(&self.headings)
            .map(|(n, heading)| format!("<li><a href=\"#s{n}\">{}</a></li>", escape(heading)))
            .collect();
        let nav = match self.headings.len() {
            0 | 1 => String::new(),
            _ => format!("<nav><ol>{entries}</ol></nav>\n"),
        };
        format!(
            "<!DOCTYPE html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">\
             <meta name=\"viewport\" content=\"width=device-width\"><title>{title}</title>\n\
             <link rel=\"icon\" href=\"data:,\">\n<style>\n{STYLE}</style></head>\n\
             <body><h1>{title}</h1>\n{}{nav}{}</body></html>\n",
            self.intro, self.body
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const AXES: Axes<'static> = Axes { caption: "c", x: "x", y: "y" };

    fn full(text: &str) -> Page {
        let labels = [text.to_owned()];
        let axes = Axes { caption: text, x: text, y: text };
        Page::new(text)
            .intro(text)
            .section(text, text)
            .section(text, text)
            .quote(text, text)
            .table(&[text], &[vec![text.into()], vec![Cell::marked(text, text, text)]])
            .bars(text, text, &labels, &[1.0])
            .histogram(axes, (0.0, 1.0), &[3, 4])
            .scatter(axes, &labels, &[(0.0, 1.0)])
            .line(axes, &[(0.0, 1.0), (1.0, 2.0)])
            .data(&text)
    }

    #[test]
    fn a_token_cannot_end_a_script_or_open_an_element() {
        let page = full("</script><img src=x onerror=alert(1)>").html();
        assert!(!page.contains("<img"));
        assert_eq!(page.matches("</script>").count(), page.matches("<script").count());
    }

    #[test]
    fn a_page_fetches_nothing() {
        let page = full("h").html();
        for outside in ["http:", "https:", "src=", "url(", "@import"] {
            assert!(!page.contains(outside), "{outside}");
        }
    }

    #[test]
    fn every_plot_names_its_axes_and_holds_its_data() {
        let bars = Page::new("t").bars("b", "logit", &["one".to_owned()], &[0.5]).html();
        assert!(bars.contains(">logit</text>") && bars.contains("\"values\":[0.5]"), "{bars}");
        for page in [
            Page::new("t").histogram(AXES, (0.0, 2.0), &[1, 2]),
            Page::new("t").scatter(AXES, &["p".to_owned()], &[(1.0, 2.0)]),
            Page::new("t").line(AXES, &[(1.0, 2.0)]),
        ] {
            let page = page.html();
            assert!(page.contains(">x</text>") && page.contains(">y</text>"), "{page}");
            assert!(page.contains("application/json"));
        }
    }

    #[test]
    fn values_that_are_no_numbers_draw_no_nonsense() {
        let odd = [f64::NAN, f64::INFINITY, -1.0];
        let labels = ["a", "b", "c"].map(str::to_owned);
        let points = odd.map(|v| (v, v));
        let page = Page::new("t")
            .bars("b", "x", &labels, &odd)
            .scatter(AXES, &labels, &points)
            .line(AXES, &points)
            .histogram(AXES, (0.0, 0.0), &[])
            .html();
        assert!(!page.contains("=\"NaN") && !page.contains("=\"inf"), "{page}");
    }

    #[test]
    fn columns_of_numbers_are_set_to_the_right() {
        let rows = [vec![Cell::from("mse"), "-0.5".into()], vec!["l0".into(), "33.85 %".into()]];
        let page = Page::new("t").table(&["metric", "value"], &rows).html();
        assert!(page.contains("<th>metric</th><th class=\"number\">value</th>"), "{page}");
        assert!(page.contains("<td>mse</td><td class=\"number\">-0.5</td>"), "{page}");
    }
}
