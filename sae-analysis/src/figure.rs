//! Figures as self-contained pages: inline SVG that shows each value under the pointer, and the data
//! beside it. Nothing is fetched.

use std::fmt::Write as _;

use serde::Serialize;

const WIDTH: f64 = 720.0;
const HEIGHT: f64 = 240.0;
const MARGIN: f64 = 36.0;

/// A page of sections.
#[derive(Default)]
pub struct Page {
    title: String,
    body: String,
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
        Self { title: title.to_owned(), body: String::new() }
    }

    /// A heading and what it is about.
    #[must_use]
    pub fn section(mut self, heading: &str, text: &str) -> Self {
        let (heading, text) = (escape(heading), escape(text));
        self.body.push_str(&format!("<h2>{heading}</h2>\n<p>{text}</p>\n"));
        self
    }

    /// A table.
    #[must_use]
    pub fn table(mut self, header: &[&str], rows: &[Vec<String>]) -> Self {
        let cells = |tag: &str, cells: &mut dyn Iterator<Item = &str>| {
            cells.fold(String::new(), |mut all, cell| {
                let _ = write!(all, "<{tag}>{}</{tag}>", escape(cell)); // a String takes everything
                all
            })
        };
        let head = cells("th", &mut header.iter().copied());
        self.body.push_str(&format!("<table><thead><tr>{head}</tr></thead><tbody>\n"));
        for row in rows {
            let row = cells("td", &mut row.iter().map(String::as_str));
            self.body.push_str(&format!("<tr>{row}</tr>\n"));
        }
        self.body.push_str("</tbody></table>\n");
        self
    }

    /// Bars with labels, in the order given.
    #[must_use]
    pub fn bars(mut self, caption: &str, labels: &[String], values: &[f64]) -> Self {
        let (low, high) = bounds(values, true);
        let wide = (WIDTH - 2.0 * MARGIN) / values.len().max(1) as f64;
        let zero = vertical(0.0, low, high);
        let mut marks = String::new();
        for (i, (label, value)) in labels.iter().zip(values).enumerate() {
            let top = vertical(*value, low, high);
            let (y, tall) = (top.min(zero), (top - zero).abs().max(0.5));
            let x = MARGIN + i as f64 * wide;
            let title = escape(&format!("{label}: {value:.4}"));
            let _ = write!(
                marks,
                "<rect x=\"{x:.1}\" y=\"{y:.1}\" width=\"{:.1}\" height=\"{tall:.1}\">\
                 <title>{title}</title></rect>",
                (wide - 1.0).max(0.5)
            );
        }
        self.figure(caption, &marks, (low, high));
        self.data(&serde_json::json!({ "caption": caption, "labels": labels, "values": values }))
    }

    /// Points with labels.
    #[must_use]
    pub fn scatter(mut self, caption: &str, labels: &[String], points: &[(f64, f64)]) -> Self {
        let xs: Vec<f64> = points.iter().map(|p| p.0).collect();
        let ys: Vec<f64> = points.iter().map(|p| p.1).collect();
        let ((left, right), (low, high)) = (bounds(&xs, false), bounds(&ys, false));
        let mut marks = String::new();
        for (label, (x, y)) in labels.iter().zip(points) {
            let across = MARGIN + (x - left) / (right - left) * (WIDTH - 2.0 * MARGIN);
            let title = escape(&format!("{label} ({x:.3}, {y:.3})"));
            let up = vertical(*y, low, high);
            let _ = write!(
                marks,
                "<circle cx=\"{across:.1}\" cy=\"{up:.1}\" r=\"3\"><title>{title}</title></circle>"
            );
        }
        self.figure(caption, &marks, (low, high));
        self.data(&serde_json::json!({ "caption": caption, "labels": labels, "points": points }))
    }

    fn figure(&mut self, caption: &str, marks: &str, (low, high): (f64, f64)) {
        let caption = escape(caption);
        let (top, bottom) = (MARGIN, HEIGHT - MARGIN);
        let _ = writeln!(
            self.body,
            "<figure><svg viewBox=\"0 0 {WIDTH} {HEIGHT}\" role=\"img\" aria-label=\"{caption}\">\
             <text x=\"2\" y=\"{top}\">{high:.3}</text><text x=\"2\" y=\"{bottom}\">{low:.3}</text>\
             {marks}</svg><figcaption>{caption}</figcaption></figure>"
        );
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
        format!(
            "<!DOCTYPE html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><title>{title}</title>\n\
             <link rel=\"icon\" href=\"data:,\">\n<style>{STYLE}</style></head>\n\
             <body><h1>{title}</h1>\n{}</body></html>\n",
            self.body
        )
    }
}

const STYLE: &str = "body{font:16px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;\
padding:0 1rem;color:#222;background:#fff}table{border-collapse:collapse;margin:1rem 0}\
td,th{border:1px solid #ccc;padding:.2rem .6rem;text-align:left;white-space:pre-wrap}\
svg{width:100%;background:#fafafa}rect,circle{fill:#3465a4;fill-opacity:.75}\
rect:hover,circle:hover{fill:#c4451c;fill-opacity:1}svg text{font-size:10px;fill:#666}\
figcaption{color:#555}figure{margin:1rem 0}";

/// The range of values, never empty; from zero if `zero` is to be in it.
fn bounds(values: &[f64], zero: bool) -> (f64, f64) {
    let start = if zero { (0.0, 0.0) } else { (f64::INFINITY, f64::NEG_INFINITY) };
    let finite = values.iter().filter(|v| v.is_finite());
    let (low, high) = finite.fold(start, |(low, high), v| (low.min(*v), high.max(*v)));
    if low < high { (low, high) } else { (low.clamp(-1.0, 0.0) - 1.0, high.clamp(0.0, 1.0) + 1.0) }
}

fn vertical(value: f64, low: f64, high: f64) -> f64 {
    HEIGHT - MARGIN - (value - low) / (high - low) * (HEIGHT - 2.0 * MARGIN)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_cannot_end_a_script_or_open_an_element() {
        let token = "</script><img src=x onerror=alert(1)>".to_owned();
        let page = Page::new("t")
            .bars("b", std::slice::from_ref(&token), &[1.0])
            .scatter("s", std::slice::from_ref(&token), &[(0.0, 1.0)])
            .table(&["a"], &[vec![token.clone()]])
            .data(&token)
            .html();
        assert!(!page.contains("<img"));
        assert_eq!(page.matches("</script>").count(), page.matches("<script").count());
    }

    #[test]
    fn a_page_fetches_nothing() {
        let page = Page::new("t").section("h", "p").html();
        for outside in ["http:", "https:", "src=", "url("] {
            assert!(!page.contains(outside), "{outside}");
        }
    }

    #[test]
    fn equal_or_absent_values_have_room() {
        for values in [&[][..], &[3.0], &[0.0, 0.0]] {
            let (low, high) = bounds(values, false);
            assert!(low < high && low.is_finite() && high.is_finite());
        }
    }
}
