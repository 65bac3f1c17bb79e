//! What a text says without its markup: its beginning for lists, and how long it is to read.

use std::fmt::Write as _;
use std::iter::Peekable;
use std::vec::IntoIter;

use comrak::arena_tree::NodeEdge;
use comrak::nodes::{AstNode, NodeValue};

use super::balance;

/// Words in the beginning of a text that lists show.
const SUMMARY_WORDS: i64 = 50;
/// The most characters of it, for texts without words.
const SUMMARY_CHARS: usize = 400;

/// Tells, all along a walk through a text, what of it is seen: not what raw HTML puts into an element that is emptied
/// (`<script>`), or between the ends of a comment.
struct Sight<'a> {
    /// The raw HTML that is still to come, and whether what follows each piece is seen.
    ahead: Peekable<IntoIter<(&'a AstNode<'a>, bool)>>,
    is_seen: bool,
}

impl<'a> Sight<'a> {
    /// Asks who decides: each piece is followed by a mark, and what is seen is what lies behind the marks that stay.
    fn of(root: &'a AstNode<'a>) -> Self {
        let (mut pieces, mut html, mut images) = (Vec::new(), String::new(), 0_u32);
        for edge in root.traverse() {
            let (node, change) = step(edge);
            match &node.data.borrow().value {
                // What stands in its place is text, tags too.
                NodeValue::Image(_) => images = images.saturating_add_signed(change),
                _ if images > 0 || change < 0 => {}
                NodeValue::HtmlInline(piece) => mark(&mut html, piece, &mut pieces, node),
                NodeValue::HtmlBlock(block) => mark(&mut html, &block.literal, &mut pieces, node),
                _ => {}
            }
        }
        for rest in balance::balance(&html).split(MARK).skip(1) {
            let number = rest.split(MARK_END).next().and_then(|number| number.parse::<usize>().ok());
            if let Some((_, is_seen)) = number.and_then(|number| pieces.get_mut(number)) {
                *is_seen = true;
            }
        }
        Self { ahead: pieces.into_iter().peekable(), is_seen: true }
    }

    /// Whether text here is seen. To be asked of each node at its start, in order.
    fn at(&mut self, node: &'a AstNode<'a>) -> bool {
        if let Some((_, is_seen)) = self.ahead.next_if(|(piece, _)| std::ptr::eq(*piece, node)) {
            self.is_seen = is_seen;
        }
        self.is_seen
    }
}

/// No text has it.
const MARK: char = '\0';
const MARK_END: char = ';';

fn mark<'a>(html: &mut String, piece: &str, pieces: &mut Vec<(&'a AstNode<'a>, bool)>, node: &'a AstNode<'a>) {
    html.push_str(piece);
    // Writing to a string cannot fail.
    let _ = write!(html, "{MARK}{}{MARK_END}", pieces.len());
    pieces.push((node, false));
}

/// A node, and whether the walk goes into it (1) or out of it (-1).
fn step<'a>(edge: NodeEdge<&'a AstNode<'a>>) -> (&'a AstNode<'a>, i32) {
    match edge {
        NodeEdge::Start(node) => (node, 1),
        NodeEdge::End(node) => (node, -1),
    }
}

/// The beginning of the text in its paragraphs (headings, code, tables and notes left out): some
/// 50 words in one line, with an ellipsis where there is more.
pub(super) fn summary<'a>(root: &'a AstNode<'a>) -> String {
    let mut text = String::new();
    let (mut paragraphs, mut hidden) = (0_u32, 0_u32);
    let mut end_of_inline = 0;
    let mut sight = Sight::of(root);
    for edge in root.traverse() {
        let (node, change) = step(edge);
        let is_seen = sight.at(node);
        match &node.data.borrow().value {
            NodeValue::Paragraph => {
                paragraphs = paragraphs.saturating_add_signed(change);
                text.push(' ');
            }
            NodeValue::FootnoteDefinition(_) | NodeValue::Image(_) => hidden = hidden.saturating_add_signed(change),
            _ if !is_seen || paragraphs == 0 || hidden > 0 || change < 0 => {}
            NodeValue::Text(words) => text.push_str(words),
            NodeValue::Code(code) => text.push_str(&code.literal),
            NodeValue::SoftBreak | NodeValue::LineBreak => text.push(' '),
            _ => {}
        }
        // The beginning is enough: looking at more now and then keeps a long text from being read to its end.
        if text.len() > end_of_inline + 4096 {
            end_of_inline = text.len();
            if units(&text) > SUMMARY_WORDS * UNITS {
                break;
            }
        }
    }
    shorten(&text)
}

/// Words in everything there is to read, code included.
pub(super) fn count_words<'a>(root: &'a AstNode<'a>) -> i64 {
    let mut units_in_all = 0;
    // Words go on from one piece of a line into the next (`re**write**`), but not across blocks.
    let mut text = String::new();
    let mut sight = Sight::of(root);
    for edge in root.traverse() {
        match edge {
            NodeEdge::Start(node) => match &node.data.borrow().value {
                _ if !sight.at(node) => {}
                NodeValue::Text(words) => text.push_str(words),
                NodeValue::Code(code) => text.push_str(&code.literal),
                NodeValue::CodeBlock(block) => text.push_str(&block.literal),
                NodeValue::SoftBreak | NodeValue::LineBreak => text.push(' '),
                _ => {}
            },
            NodeEdge::End(node) => {
                if node.data.borrow().value.block() {
                    units_in_all += units(&text);
                    text.clear();
                }
            }
        }
    }
    (units_in_all + units(&text) + UNITS - 1) / UNITS
}

/// In one line and cut after some words.
fn shorten(text: &str) -> String {
    let text = text.split_whitespace().collect::<Vec<_>>().join(" ");
    let mut counter = Counter::default();
    for (chars, (at, c)) in text.char_indices().enumerate() {
        counter.take(c);
        if counter.units > SUMMARY_WORDS * UNITS || chars >= SUMMARY_CHARS {
            return format!("{}…", text[..at].trim_end());
        }
    }
    text
}

/// Fractions of a word are counted in these.
const UNITS: i64 = 5;

fn units(text: &str) -> i64 {
    let mut counter = Counter::default();
    text.chars().for_each(|c| counter.take(c));
    counter.units
}

/// Counts words: runs of letters and digits between white space; and in scripts that put no
/// spaces between words, every character of Chinese and Japanese, and every five of Thai, Lao,
/// Khmer and Burmese.
#[derive(Default)]
struct Counter {
    units: i64,
    in_word: bool,
}

impl Counter {
    fn take(&mut self, c: char) {
        let (units, in_word) = match c {
            _ if c.is_whitespace() => (0, false),
            // The Tibetan mark between syllables.
            '\u{f0b}' => (0, false),
            _ if is_ideographic(c) => (UNITS, false),
            _ if is_unspaced_alphabetic(c) => (1, false),
            _ if c.is_alphanumeric() => (if self.in_word { 0 } else { UNITS }, true),
            // Marks and punctuation neither begin nor end a word: `don't`, `e.g.`, `re-read`.
            _ => (0, self.in_word),
        };
        self.units += units;
        self.in_word = in_word;
    }
}

fn is_ideographic(c: char) -> bool {
    matches!(c,
        '\u{3041}'..='\u{30ff}' | '\u{31f0}'..='\u{31ff}' | '\u{3400}'..='\u{4dbf}' | '\u{4e00}'..='\u{9fff}'
        | '\u{f900}'..='\u{faff}' | '\u{ff66}'..='\u{ff9d}' | '\u{20000}'..='\u{3ffff}')
}

fn is_unspaced_alphabetic(c: char) -> bool {
    matches!(c, '\u{e00}'..='\u{eff}' | '\u{1000}'..='\u{109f}' | '\u{1780}'..='\u{17ff}')
}
