//! Full-text search: what a word is, and what somebody looks for.
//!
//! Databases differ in what they take for a word, so none of them is asked: a text is cut into
//! words here ([`words`]), the index holds those words and nothing else, and a search is cut by the
//! same rules. A database is never handed a syntax that somebody typed.

mod words;

use std::fmt;

use crate::error::{Fault, FaultCode};

pub use words::{of_html, of_text};

/// What somebody looks for: posts that have all of its terms. One without terms finds nothing.
///
/// Terms stand apart by white space. What stands in double quotes is one term; so is a word that
/// holds punctuation (`re-read`). The words of a term are found next to one another, in this order.
/// A `*` right behind a term lets its last word go on.
///
/// What may be asked for is bounded by what it costs: an index reads all posts of each word, and all
/// words of each beginning.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Search {
    terms: Vec<Term>,
}

/// One or more words that stand next to one another.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Term {
    words: Vec<String>,
    is_prefix: bool,
}

impl Search {
    /// The most characters.
    pub const MAX_CHARS: usize = 200;
    /// The most terms.
    pub const MAX_TERMS: usize = 16;
    /// The most words in all terms together.
    pub const MAX_WORDS: usize = 64;
    /// The most terms whose last word may go on.
    pub const MAX_PREFIXES: usize = 4;
    /// The fewest characters of a word that may go on.
    pub const MIN_PREFIX_CHARS: usize = 2;

    /// The terms, sorted, each once.
    pub fn terms(&self) -> &[Term] {
        &self.terms
    }
}

impl Term {
    /// The words, at least one.
    pub fn words(&self) -> &[String] {
        &self.words
    }

    /// Whether the last word may go on.
    pub fn is_prefix(&self) -> bool {
        self.is_prefix
    }

    fn of(text: &str, is_prefix: bool) -> Option<Self> {
        let words: Vec<String> = of_text(text).split(' ').filter(|word| !word.is_empty()).map(str::to_owned).collect();
        let last = words.last()?;
        // Where each character is a word, none goes on.
        let is_prefix = is_prefix && !last.starts_with(words::is_unspaced);
        Some(Self { words, is_prefix })
    }

    fn is_too_open(&self) -> bool {
        self.is_prefix && self.words.last().is_none_or(|word| word.chars().count() < Search::MIN_PREFIX_CHARS)
    }
}

impl TryFrom<String> for Search {
    type Error = Fault;

    fn try_from(text: String) -> Result<Self, Fault> {
        if text.is_empty() {
            return Err(Fault::here(FaultCode::TooShort, "At least 1 character."));
        }
        crate::text::check_text(&text, Self::MAX_CHARS)?;
        let mut terms: Vec<Term> = split(&text).filter_map(|(term, is_prefix)| Term::of(term, is_prefix)).collect();
        terms.sort();
        terms.dedup();
        let too_many = |what: String| Err(Fault::here(FaultCode::TooMany, what));
        if terms.len() > Self::MAX_TERMS {
            return too_many(format!("At most {} words or phrases.", Self::MAX_TERMS));
        }
        if terms.iter().map(|term| term.words.len()).sum::<usize>() > Self::MAX_WORDS {
            return too_many(format!("At most {} words; in scripts without spaces, characters.", Self::MAX_WORDS));
        }
        if terms.iter().filter(|term| term.is_prefix).count() > Self::MAX_PREFIXES {
            return too_many(format!("At most {} words with *.", Self::MAX_PREFIXES));
        }
        if terms.iter().any(Term::is_too_open) {
            let detail = format!("At least {} letters or digits in front of *.", Self::MIN_PREFIX_CHARS);
            return Err(Fault::here(FaultCode::TooShort, detail));
        }
        Ok(Self { terms })
    }
}

/// Cuts a text into terms, each with whether a `*` stands right behind it. A quote that is not
/// closed reaches to the end: it is still being typed.
fn split(text: &str) -> impl Iterator<Item = (&str, bool)> {
    let mut rest = text;
    std::iter::from_fn(move || {
        rest = rest.trim_start();
        if rest.is_empty() {
            return None;
        }
        let (term, behind) = if let Some(quoted) = rest.strip_prefix('"') {
            quoted.split_once('"').unwrap_or((quoted, ""))
        } else {
            let end = rest.find(|c: char| c.is_whitespace() || matches!(c, '"' | '*')).unwrap_or(rest.len());
            rest.split_at(end)
        };
        let is_prefix = behind.starts_with('*');
        rest = behind.trim_start_matches('*');
        Some((term, is_prefix))
    })
}

/// The one way to write this search: whatever is read as the same is written the same.
impl fmt::Display for Search {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.terms.is_empty() {
            return f.write_str("\"\"");
        }
        for (place, term) in self.terms.iter().enumerate() {
            let space = if place > 0 { " " } else { "" };
            match term.words.as_slice() {
                [word] => write!(f, "{space}{word}")?,
                words => write!(f, "{space}\"{}\"", words.join(" "))?,
            }
            if term.is_prefix {
                f.write_str("*")?;
            }
        }
        Ok(())
    }
}
