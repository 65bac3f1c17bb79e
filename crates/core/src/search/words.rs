//! Cutting texts of any script into words.
//!
//! * A word is a run of letters and digits with their marks; case does not count, nor do accents,
//!   nor the vowel points of Arabic and Hebrew, nor the width or shape of a character (NFKD).
//! * Scripts without spaces between words (Chinese, Japanese, Thai, …) give a word for each
//!   character, and so does Korean, whose particles cling to words: what is looked for is a run of
//!   characters, which is found wherever it stands.
//! * No word is taken to its stem: that would need to know the language.
//!
//! Whoever changes these rules has to write every index anew: see the migrations of the store.

use unicode_normalization::UnicodeNormalization as _;
use unicode_normalization::char::is_combining_mark;

/// The most characters of a word that count.
const MAX_WORD_CHARS: usize = 64;

/// The words of a plain text, with one space between each two.
pub fn of_text(text: &str) -> String {
    let mut words = Words::default();
    words.take(text);
    words.finish()
}

/// The words that somebody reads in a page: of well-formed HTML, as the sanitiser writes it.
/// Markup inside a word leaves it whole (`re<b>write</b>`).
pub fn of_html(html: &str) -> String {
    let mut words = Words::default();
    let mut rest = html;
    while let Some(at) = rest.find(['<', '&']) {
        let (text, markup) = rest.split_at(at);
        words.take(text);
        rest = if markup.starts_with('<') {
            let (name, behind) = tag(markup);
            if !INLINE.contains(&name) {
                words.end_word();
            }
            behind
        } else {
            // The sanitiser escapes nothing but punctuation and spaces.
            words.end_word();
            let entity = markup.bytes().take(8).position(|byte| byte == b';').unwrap_or(0);
            &markup[entity + 1..]
        };
    }
    words.take(rest);
    words.finish()
}

/// Elements that stand inside words. `sup` does not: it holds the numbers of footnotes.
const INLINE: &[&str] = &[
    "a", "abbr", "b", "bdi", "bdo", "cite", "code", "del", "dfn", "em", "i", "ins", "kbd", "mark", "q", "s", "samp",
    "small", "span", "strike", "strong", "sub", "tt", "u", "var", "wbr",
];

/// The name of the tag that `markup` begins with, and what follows the tag.
fn tag(markup: &str) -> (&str, &str) {
    let inner = markup.strip_prefix('<').unwrap_or(markup);
    let inner = inner.strip_prefix('/').unwrap_or(inner);
    let name = inner.split(|c: char| !c.is_ascii_alphanumeric()).next().unwrap_or_default();
    let mut is_quoted = false;
    let end = inner.bytes().position(|byte| {
        is_quoted ^= byte == b'"';
        byte == b'>' && !is_quoted
    });
    (name, end.map_or("", |end| &inner[end + 1..]))
}

/// Words in the making.
#[derive(Default)]
struct Words {
    text: String,
    /// Characters of the word at the end of `text`; zero between words.
    chars: usize,
}

impl Words {
    fn take(&mut self, text: &str) {
        let mut rest = text;
        while !rest.is_empty() {
            let ascii = rest.bytes().position(|byte| !byte.is_ascii()).unwrap_or(rest.len());
            for byte in rest[..ascii].bytes() {
                self.push(char::from(byte.to_ascii_lowercase()));
            }
            rest = &rest[ascii..];
            let other = rest.bytes().position(|byte| byte.is_ascii()).unwrap_or(rest.len());
            let folded = rest[..other].nfkd().flat_map(char::to_lowercase).nfkd().filter(|c| !is_ignored(*c)).nfc();
            for c in folded {
                match spelt_out(c) {
                    Some(letters) => letters.chars().for_each(|c| self.push(c)),
                    None => self.push(c),
                }
            }
            rest = &rest[other..];
        }
    }

    fn push(&mut self, c: char) {
        let is_letter = c.is_alphanumeric();
        let is_mark = !is_letter && is_combining_mark(c);
        if (is_letter || is_mark) && is_unspaced(c) {
            self.end_word();
            self.append(c);
            self.end_word();
        } else if is_letter || (is_mark && self.chars > 0) {
            self.append(c);
        } else if !is_mark {
            self.end_word();
        }
    }

    fn append(&mut self, c: char) {
        if self.chars == 0 && !self.text.is_empty() {
            self.text.push(' ');
        }
        if self.chars < MAX_WORD_CHARS {
            self.text.push(c);
        }
        self.chars += 1;
    }

    fn end_word(&mut self) {
        self.chars = 0;
    }

    fn finish(self) -> String {
        self.text
    }
}

/// What is left out of words: accents, vowel points, the Arabic stroke that stretches a word, and
/// characters that nobody sees.
fn is_ignored(c: char) -> bool {
    matches!(c,
        '\u{300}'..='\u{36f}' // accents
        | '\u{591}'..='\u{5bd}' | '\u{5bf}' | '\u{5c1}' | '\u{5c2}' | '\u{5c4}' | '\u{5c5}' | '\u{5c7}' // Hebrew
        | '\u{610}'..='\u{61a}' | '\u{640}' | '\u{64b}'..='\u{65f}' | '\u{670}' | '\u{6d6}'..='\u{6ed}' // Arabic
        | '\u{ad}' | '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{2064}' | '\u{feff}'
        | '\u{fe00}'..='\u{fe0f}' | '\u{e0100}'..='\u{e01ef}')
}

/// Letters that people write in other ways, but that do not come apart by Unicode's rules.
fn spelt_out(c: char) -> Option<&'static str> {
    Some(match c {
        'ß' => "ss",
        'æ' => "ae",
        'œ' => "oe",
        'ø' => "o",
        'đ' | 'ð' => "d",
        'ł' => "l",
        'ı' => "i",
        'þ' => "th",
        'ς' => "σ",
        _ => return None,
    })
}

/// Whether words of this character's script cannot be told apart by spaces.
pub(super) fn is_unspaced(c: char) -> bool {
    matches!(c,
        '\u{e00}'..='\u{eff}' // Thai, Lao
        | '\u{1000}'..='\u{109f}' | '\u{a9e0}'..='\u{a9ff}' | '\u{aa60}'..='\u{aa7f}' // Burmese
        | '\u{1780}'..='\u{17ff}' // Khmer
        | '\u{1950}'..='\u{19df}' | '\u{1a20}'..='\u{1aaf}' // Tai
        | '\u{1b00}'..='\u{1b7f}' | '\u{a980}'..='\u{a9df}' // Balinese, Javanese
        | '\u{3005}'..='\u{3007}' | '\u{3041}'..='\u{30ff}' | '\u{3105}'..='\u{312f}' | '\u{31a0}'..='\u{31bf}'
        | '\u{31f0}'..='\u{31ff}' | '\u{3400}'..='\u{4dbf}' | '\u{4e00}'..='\u{9fff}' | '\u{a000}'..='\u{a48c}'
        | '\u{ac00}'..='\u{d7a3}' | '\u{f900}'..='\u{faff}' | '\u{1b000}'..='\u{1b16f}' | '\u{20000}'..='\u{3ffff}')
}
