//! Which passwords are accepted (NIST SP 800-63B-4 §3.1.1.2): long ones that are not guessable.
//!
//! No composition rules, no truncation, any Unicode. Composed and decomposed forms of the same
//! text are the same password: it is brought into NFC once, here, and nothing else is changed.

use inkstone_core::error::{Fault, FaultCode};
use secrecy::zeroize::Zeroizing;
use unicode_normalization::UnicodeNormalization as _;

/// The fewest characters of a password that is the only factor.
pub const MIN_CHARS: usize = 15;
/// The most bytes; at least 256 characters of any script.
pub const MAX_BYTES: usize = 1024;

/// Where the fault is said to be.
const POINTER: &str = "/password";

/// A password is guessable when fewer characters than this are left beside the known pieces ...
const FEWEST_OWN_CHARS: usize = 4;
/// ... and the pieces are no more than this. Four known words in a row are a passphrase.
const MOST_PIECES: usize = 3;

/// Passwords and words that everybody tries first: one a line, folded as [`fold`] does.
const COMMON: &str = include_str!("common.txt");

/// Neighbours on keyboards and in alphabets, read in both directions.
const ROWS: [&str; 13] = [
    "abcdefghijklmnopqrstuvwxyz",
    "01234567890",
    "qwertyuiop",
    "asdfghjkl",
    "zxcvbnm",
    "qwertzuiop",
    "yxcvbnm",
    "azertyuiop",
    "qsdfghjklm",
    "wxcvbn",
    "1q2w3e4r5t6y7u8i9o0p",
    "qawsedrftgyhujikolp",
    "1qaz2wsx3edc4rfv5tgb6yhn7ujm8ik9ol0p",
];

/// What an attacker would try first for this very account.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct PasswordContext<'a> {
    /// The account's handle.
    pub handle: &'a str,
    /// Its address.
    pub email: Option<&'a str>,
    /// Its display name.
    pub display_name: &'a str,
}

/// The form in which a password is hashed and compared: NFC, for 'é' is one letter however the
/// keyboard sends it. Cleared from memory when dropped.
pub(crate) fn normalise(password: &str) -> Zeroizing<String> {
    Zeroizing::new(password.nfc().collect())
}

/// Checks a new password and gives back the form to hash.
///
/// # Errors
/// The first rule it breaks, at `/password`.
pub fn check(password: &str, context: PasswordContext<'_>, site_name: &str) -> Result<Zeroizing<String>, Fault> {
    if password.len() > MAX_BYTES {
        return Err(Fault::at(POINTER, FaultCode::TooLong, format!("At most {MAX_BYTES} bytes.")));
    }
    let password = normalise(password);
    if password.chars().count() < MIN_CHARS {
        return Err(Fault::at(POINTER, FaultCode::TooShort, format!("At least {MIN_CHARS} characters.")));
    }
    if is_guessable(&password, &context_words(context, site_name)) {
        return Err(Fault::at(
            POINTER,
            FaultCode::Guessable,
            "Too easy to guess: it is little more than common words, a pattern, or names of this account or site.",
        ));
    }
    Ok(password)
}

/// Lower case, with the usual substitutes undone: `P@ssw0rd` is `password`.
fn fold(text: &str) -> Vec<char> {
    text.chars()
        .flat_map(char::to_lowercase)
        .map(|c| match c {
            '0' => 'o',
            '1' | '!' => 'i',
            '3' => 'e',
            '4' | '@' => 'a',
            '5' | '$' => 's',
            '7' => 't',
            other => other,
        })
        .collect()
}

/// Folded words of at least three characters out of the names around an account.
fn context_words(context: PasswordContext<'_>, site_name: &str) -> Vec<Vec<char>> {
    let (local, domain) = context.email.and_then(|email| email.rsplit_once('@')).unwrap_or_default();
    let names = [context.handle, local, domain, context.display_name, site_name];
    let words = names.iter().flat_map(|name| {
        let whole: String = name.chars().filter(|c| c.is_alphanumeric()).collect();
        let parts = name.split(|c: char| !c.is_alphanumeric()).map(str::to_owned);
        parts.chain([whole]).collect::<Vec<_>>()
    });
    words.map(|word| fold(&word.nfc().collect::<String>())).filter(|word| word.len() >= 3).collect()
}

fn is_guessable(password: &str, context: &[Vec<char>]) -> bool {
    let lower: Vec<char> = password.chars().flat_map(char::to_lowercase).collect();
    if is_repetition(&lower) {
        return true;
    }
    // Spaces and signs between letters hide nothing, so the walk is over letters and digits: as
    // they are, and with substitutes undone. Folding maps one to one, so both stay in step.
    let (plain, folded): (Vec<char>, Vec<char>) =
        lower.iter().copied().zip(fold(password)).filter(|(_, folded)| folded.is_alphanumeric()).unzip();
    let (mut at, mut own, mut pieces) = (0, 0, Vec::new());
    while at < plain.len() {
        let piece = known_word(&folded[at..], context).max(run(&plain[at..]));
        if piece > 0 {
            let text = &folded[at..at + piece];
            if !pieces.contains(&text) {
                pieces.push(text);
            }
            at += piece;
        } else {
            own += usize::from(plain[at].is_alphanumeric());
            at += 1;
        }
    }
    // A few kinds of signs are decoration; many are characters like any others.
    let mut signs: Vec<char> = lower.into_iter().filter(|c| !c.is_alphanumeric()).collect();
    signs.sort_unstable();
    signs.dedup();
    own += signs.len().saturating_sub(FEWEST_OWN_CHARS - 1);
    own < FEWEST_OWN_CHARS && pieces.len() <= MOST_PIECES
}

/// Whether it is one short text over and over: no stronger than that text.
fn is_repetition(text: &[char]) -> bool {
    (1..MIN_CHARS.min(text.len() / 2 + 1)).any(|period| text.iter().zip(&text[period..]).all(|(a, b)| a == b))
}

/// The length of the longest known word that `text` begins with.
fn known_word(text: &[char], context: &[Vec<char>]) -> usize {
    let begins = |word: &[char]| text.starts_with(word).then_some(word.len());
    let common = COMMON.lines().filter_map(|word| {
        let mut rest = text.iter();
        let mut letters = word.chars();
        letters.all(|c| rest.next() == Some(&c)).then(|| word.chars().count()).filter(|length| *length > 0)
    });
    common.chain(context.iter().filter_map(|word| begins(word))).max().unwrap_or(0)
}

/// The length of the run that `text` begins with, if it has three characters or more: one
/// character repeated, a date or other number, or neighbours on a keyboard or in the alphabet.
fn run(text: &[char]) -> usize {
    let repeated = text.iter().take_while(|c| **c == text[0]).count();
    let digits = text.iter().take_while(|c| c.is_ascii_digit()).count();
    // Eight digits are a date; more than that may be a number of one's own.
    let number = if digits <= 8 { digits } else { 0 };
    let neighbours = ROWS
        .iter()
        .flat_map(|row| [row.chars().collect::<Vec<_>>(), row.chars().rev().collect()])
        .map(|row| along(&row, text))
        .max()
        .unwrap_or(0);
    let longest = repeated.max(number).max(neighbours);
    if longest >= 3 { longest } else { 0 }
}

/// How far `text` walks along `row`, starting wherever its first character stands.
fn along(row: &[char], text: &[char]) -> usize {
    let starts = row.iter().enumerate().filter(|(_, c)| Some(*c) == text.first()).map(|(at, _)| at);
    starts.map(|at| row[at..].iter().zip(text).take_while(|(a, b)| a == b).count()).max().unwrap_or(0)
}
