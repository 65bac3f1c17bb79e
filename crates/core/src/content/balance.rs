//! HTML that a parser takes in linear time.
//!
//! Browsers, and sanitisers that parse as they do, repair bad HTML by rules that cost the square
//! of its length or worse: a hundred thousand open `<div>`s, or `<b>`s that are reopened in every
//! paragraph, would keep a processor busy for minutes or fill the memory. So before the sanitiser
//! sees it, the HTML is brought into a form without such work to do: every element closed, and
//! in order; nothing deeper than [`MAX_DEPTH`]; paragraphs, list items and table cells closed
//! where the parser would close them; tags that the sanitiser removes anyway removed already.
//! Whatever is not well-formed becomes text.
//!
//! This is about time, not safety: what is safe is up to [`super::sanitise`], which follows.

use std::collections::HashSet;

use super::sanitise::{ELEMENTS, EMPTIED};

/// The deepest nesting of elements. Tags below it are left out; their text stays.
pub(super) const MAX_DEPTH: usize = 100;
/// The longest piece of text that is written without a break in it, in bytes.
const MAX_TEXT_PIECE: usize = 4096;
/// The most that the attributes of one element may take, in bytes; beyond that they are left out.
const MAX_ATTRIBUTES: usize = 16 * 1024;
/// The most elements open at one time that a parser may have to reopen (`b`, `em`, `a`, …).
const MAX_FORMATTING: usize = 12;

const COMMENT: &str = "!--";
const VOID: &[&str] = &["br", "col", "hr", "img", "input", "wbr"];
const FORMATTING: &[&str] = &["a", "b", "code", "em", "i", "s", "small", "strike", "strong", "tt", "u"];
/// Elements at which a parser stops to look for what to close.
const WALLS: &[&str] = &["caption", "table", "td", "th"];
/// The same for the items of lists.
const ITEM_WALLS: &[&str] =
    &["blockquote", "caption", "details", "dl", "figure", "ol", "section", "table", "td", "th", "ul"];
const TABLE_PARTS: &[&str] = &["caption", "col", "colgroup", "tbody", "td", "tfoot", "th", "thead", "tr"];
const BETWEEN_CELLS: &[&str] = &["colgroup", "table", "tbody", "tfoot", "thead", "tr"];
/// Elements that close an open paragraph.
const BLOCKS: &[&str] = &[
    "blockquote",
    "center",
    "dd",
    "details",
    "div",
    "dl",
    "dt",
    "figcaption",
    "figure",
    "h1",
    "h2",
    "h3",
    "h4",
    "h5",
    "h6",
    "hr",
    "li",
    "ol",
    "p",
    "pre",
    "section",
    "summary",
    "table",
    "ul",
];

/// Brings `html` into the form described above.
pub(super) fn balance(html: &str) -> String {
    let mut balancer = Balancer {
        out: String::with_capacity(html.len()),
        open: Vec::new(),
        endless: HashSet::new(),
        after_pre: false,
        patience: 4 * html.len() + 4096,
    };
    let mut rest = html;
    while let Some(at) = rest.find('<') {
        balancer.text(&rest[..at]);
        rest = balancer.markup(&rest[at..]);
    }
    balancer.text(rest);
    balancer.close_down_to(0);
    balancer.out
}

struct Balancer {
    out: String,
    /// Names of the elements that are open, outermost first.
    open: Vec<&'static str>,
    /// Names of elements to be emptied that are never closed in what is left.
    endless: HashSet<&'static str>,
    /// Whether the last thing written is the start of a `pre`: a parser leaves out a line break
    /// there, so that a second parser would leave out another one.
    after_pre: bool,
    /// How many bytes may still be looked at in vain. Text that looks like a tag up to its very
    /// end, again and again, would cost the square of its length.
    patience: usize,
}

impl Balancer {
    /// Writes text in pieces: what serialises it looks from every `&` to the end of the piece. The
    /// comments between them go away in the sanitiser.
    fn text(&mut self, mut text: &str) {
        if self.after_pre {
            text = text.trim_start_matches(['\r', '\n']);
            self.after_pre = text.is_empty();
        }
        if self.open.last().is_some_and(|last| BETWEEN_CELLS.contains(last)) {
            // A parser moves it in front of the table, perhaps right after the start of a `pre`.
            text = text.trim_start();
        }
        // Not within a character reference, which is made of ASCII.
        let ends_piece = |c: char| c.is_whitespace() || c == '&' || !c.is_ascii();
        while let Some(tail) = text.get(text.ceil_char_boundary(MAX_TEXT_PIECE)..).filter(|tail| !tail.is_empty()) {
            let Some(more) = tail.find(ends_piece) else { break };
            let (piece, rest) = text.split_at(text.len() - tail.len() + more);
            self.out.push_str(piece);
            self.out.push_str("<!---->");
            text = rest;
        }
        self.out.push_str(text);
    }

    /// Takes what begins with `<`, and gives back what follows it.
    fn markup<'a>(&mut self, text: &'a str) -> &'a str {
        if text.starts_with("<!--") && !self.endless.contains(COMMENT) {
            if let Some(end) = text[4..].find("-->") {
                return &text[4 + end + 3..];
            }
            self.endless.insert(COMMENT);
        }
        if self.patience > 0 {
            match Tag::parse(text) {
                Ok((tag, rest)) if tag.closes => {
                    self.close(&tag.name);
                    return rest;
                }
                Ok((tag, rest)) => return self.open(&tag, rest),
                Err(unread) => self.patience = self.patience.saturating_sub(text.len() - unread.len()),
            }
        }
        self.text("&lt;");
        &text[1..]
    }

    fn open<'a>(&mut self, tag: &Tag<'_>, rest: &'a str) -> &'a str {
        if let Some(name) = known(EMPTIED, &tag.name) {
            return self.skip_content(name, rest);
        }
        let Some(name) = known(ELEMENTS, &tag.name) else { return rest };
        self.close_what_ends_before(name);
        if self.is_misplaced(name) {
            return rest;
        }
        if VOID.contains(&name) {
            self.write_start(name, tag.attributes);
            return rest;
        }
        let formatting = self.open.iter().filter(|open| FORMATTING.contains(open)).count();
        if self.open.len() >= MAX_DEPTH || (FORMATTING.contains(&name) && formatting >= MAX_FORMATTING) {
            return rest;
        }
        self.write_start(name, tag.attributes);
        self.open.push(name);
        if tag.is_empty {
            // `<a id="here"/>` means an empty element, though HTML would read it as an open one.
            self.close_down_to(self.open.len() - 1);
        }
        rest
    }

    fn write_start(&mut self, name: &str, attributes: &str) {
        let attributes = if attributes.len() > MAX_ATTRIBUTES { "" } else { attributes };
        for part in ["<", name, attributes, ">"] {
            self.out.push_str(part);
        }
        self.after_pre = name == "pre";
    }

    /// Closes what a parser would close by itself, so that nothing is left open inside of it.
    fn close_what_ends_before(&mut self, name: &str) {
        match name {
            "li" => self.close_within(&["li"], ITEM_WALLS),
            "dd" | "dt" => self.close_within(&["dd", "dt"], ITEM_WALLS),
            "td" | "th" => self.close_within(&["td", "th", "caption"], &["table"]),
            "tr" => self.close_each_within(&[&["td", "th", "caption"], &["tr"]]),
            "tbody" | "thead" | "tfoot" | "caption" | "colgroup" => {
                self.close_each_within(&[&["td", "th", "caption"], &["tr"], &["tbody", "thead", "tfoot", "colgroup"]]);
            }
            "a" => self.close_within(&["a"], WALLS),
            _ => {}
        }
        if BLOCKS.contains(&name) {
            self.close_within(&["p"], WALLS);
        }
    }

    /// Closes parts of the innermost table, one kind after the other.
    fn close_each_within(&mut self, kinds: &[&[&str]]) {
        for names in kinds {
            self.close_within(names, &["table"]);
        }
    }

    /// Whether a parser would not leave `name` where it stands: the parts of a table in a table, and
    /// between those parts nothing else. It moves what it finds there to the front of the table,
    /// into places where it may not stand.
    fn is_misplaced(&self, name: &str) -> bool {
        if TABLE_PARTS.contains(&name) {
            return !self.open.contains(&"table");
        }
        self.open.last().is_some_and(|last| BETWEEN_CELLS.contains(last))
    }

    /// Closes the innermost open element of `names`, unless one of `walls` stands before it.
    fn close_within(&mut self, names: &[&str], walls: &[&str]) {
        let found = self.open.iter().rposition(|open| names.contains(open) || walls.contains(open));
        if let Some(at) = found.filter(|at| names.contains(&self.open[*at])) {
            self.close_down_to(at);
        }
    }

    /// An end tag: closes its element and everything in it; left out if there is none.
    fn close(&mut self, name: &str) {
        let walls: &[&str] = if WALLS.contains(&name) || matches!(name, "tr" | "tbody" | "thead" | "tfoot") {
            &["table"]
        } else {
            WALLS
        };
        let found = self.open.iter().rposition(|open| *open == name || walls.contains(open));
        if let Some(at) = found.filter(|at| self.open[*at] == name) {
            self.close_down_to(at);
        }
    }

    fn close_down_to(&mut self, depth: usize) {
        self.after_pre &= depth >= self.open.len();
        for name in self.open.drain(depth..).rev() {
            for part in ["</", name, ">"] {
                self.out.push_str(part);
            }
        }
    }

    /// Leaves out everything up to and with the end tag of `name`; only the start tag if there is none.
    fn skip_content<'a>(&mut self, name: &'static str, rest: &'a str) -> &'a str {
        if self.endless.contains(name) {
            return rest;
        }
        let end = end_of(name, rest);
        if end.is_none() {
            self.endless.insert(name);
        }
        end.unwrap_or(rest)
    }
}

/// What follows the first end tag of `name` in `text`.
fn end_of<'a>(name: &str, text: &'a str) -> Option<&'a str> {
    for (at, _) in text.match_indices("</") {
        let after = &text[at + 2..];
        if !after.get(..name.len()).is_some_and(|found| found.eq_ignore_ascii_case(name)) {
            continue;
        }
        let after = &after[name.len()..];
        if after.starts_with(|c: char| c == '>' || c == '/' || is_space(c)) {
            return after.split_once('>').map(|(_, after)| after);
        }
    }
    None
}

/// The entry of `names` that `name` is.
fn known(names: &'static [&'static str], name: &str) -> Option<&'static str> {
    names.iter().copied().find(|known| *known == name)
}

/// A well-formed tag.
struct Tag<'a> {
    /// In lower case.
    name: String,
    /// With the white space in front of them, as they stand.
    attributes: &'a str,
    closes: bool,
    is_empty: bool,
}

impl<'a> Tag<'a> {
    /// Reads a start or end tag as CommonMark §6.6 defines them, and gives back what follows.
    ///
    /// # Errors
    /// What was not looked at, if this is no tag.
    fn parse(text: &'a str) -> Result<(Self, &'a str), &'a str> {
        let (closes, inner) = match text.strip_prefix("</") {
            Some(inner) => (true, inner),
            None => (false, &text[1..]),
        };
        let after_name = inner.trim_start_matches(|c: char| c.is_ascii_alphanumeric() || c == '-');
        let name = &inner[..inner.len() - after_name.len()];
        if !name.starts_with(|c: char| c.is_ascii_alphabetic()) {
            return Err(after_name);
        }
        let mut rest = after_name;
        while !closes && let Some(after) = attribute(rest)? {
            rest = after;
        }
        let attributes = &after_name[..after_name.len() - rest.len()];
        let rest = rest.trim_start_matches(is_space);
        let (is_empty, rest) = match rest.strip_prefix('/').filter(|_| !closes) {
            Some(rest) => (true, rest),
            None => (false, rest),
        };
        let Some(after) = rest.strip_prefix('>') else { return Err(rest) };
        Ok((Self { name: name.to_ascii_lowercase(), attributes, closes, is_empty }, after))
    }
}

fn is_space(c: char) -> bool {
    matches!(c, ' ' | '\t' | '\n' | '\r' | '\x0c')
}

/// Reads white space, a name, and perhaps a value; gives back what follows.
///
/// # Errors
/// What was not looked at, if this begins as an attribute but is none.
fn attribute(text: &str) -> Result<Option<&str>, &str> {
    let named = text.trim_start_matches(is_space);
    if named.len() == text.len() || !named.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_' || c == ':') {
        return Ok(None);
    }
    let after_name =
        named.trim_start_matches(|c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | ':' | '.' | '-'));
    let Some(value) = after_name.trim_start_matches(is_space).strip_prefix('=') else { return Ok(Some(after_name)) };
    let value = value.trim_start_matches(is_space);
    for quote in ['"', '\''] {
        if let Some(quoted) = value.strip_prefix(quote) {
            // Without a closing quote, everything has been looked at.
            return quoted.split_once(quote).map(|(_, after)| Some(after)).ok_or("");
        }
    }
    let after = value.trim_start_matches(|c: char| !is_space(c) && !matches!(c, '"' | '\'' | '=' | '<' | '>' | '`'));
    if after.len() < value.len() { Ok(Some(after)) } else { Err(value) }
}
