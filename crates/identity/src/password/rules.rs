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

#[cfg(test)]
mod tests {
    use super::*;

    const CONTEXT: PasswordContext<'_> = PasswordContext {
        handle: "ada-lovelace",
        email: Some("countess@Lovelace-Estate.example"),
        display_name: "Ada King, Countess of Lovelace",
    };

    fn verdict(password: &str) -> Option<FaultCode> {
        check(password, CONTEXT, "Analytical Engines Weekly").err().map(|fault| {
            assert_eq!(fault.pointer, "/password");
            fault.code
        })
    }

    #[test]
    fn length_is_counted_in_characters_and_bounded_in_bytes() {
        let word = "vq7 plum ";
        assert_eq!(verdict(""), Some(FaultCode::TooShort));
        assert_eq!(verdict("plum gravel se"), Some(FaultCode::TooShort), "14");
        assert_eq!(verdict("plum gravel sex"), None, "15");
        assert_eq!(verdict("žluťoučký kůň!"), Some(FaultCode::TooShort), "14 characters in 20 bytes");
        assert_eq!(verdict("e\u{301}plum gravel s"), Some(FaultCode::TooShort), "14 once composed");
        for chars in [64, 128] {
            let long: String = "gravel sextant oblique lantern quarry nineteen ".chars().cycle().take(chars).collect();
            assert_eq!(verdict(&long), None, "{chars}");
        }
        let scripts = [
            "пароход уплывает утром",
            "図書館で本を読むのが好きな猫です",
            "مكتبة صغيرة على البحر",
            "🦑🪁🧭🪵🪨🧊🎈🧵🪡🫖🧂🥌🪃🛞🧿",
        ];
        for password in scripts {
            assert_eq!(verdict(password), None, "{password}");
        }
        let most: String = (0..MAX_BYTES).map(|n| char::from(b'a' + u8::try_from(n * n % 23).unwrap())).collect();
        assert_ne!(verdict(&most), Some(FaultCode::TooLong));
        assert_eq!(verdict(&format!("{most}{word}")), Some(FaultCode::TooLong));
    }

    #[test]
    fn no_composition_is_asked_for_and_nothing_is_changed() {
        for password in [
            "correct gravel lantern sextant",
            "gravellanternsextant",
            "829104756382910",
            "GRAVEL LANTERN SEXTANT",
            "  gravel \t lantern \0 sextant  ",
            "}{]|[;:'?/<>,.~`_-=+",
            "dragon monkey football master",
            "dragon eats the monkey's cheese",
        ] {
            assert_eq!(verdict(password), None, "{password}");
            assert_eq!(check(password, CONTEXT, "").unwrap().as_str(), password);
        }
    }

    #[test]
    fn what_everybody_tries_first_is_refused() {
        for password in [
            "aaaaaaaaaaaaaaaa",
            "abababababababab",
            "abcabcabcabcabcabc",
            "hunter!hunter!hunter!",
            "summer2026summer2026",
            "correct correct correct ",
            "passwordpassword",
            "password12345678",
            "Password1234567!",
            "P@ssw0rdP@ssw0rd1",
            "p a s s w o r d 1 2 3 4",
            "letmein!!!!!!!!!!!",
            "iloveyou123456789",
            "Welcome2026!!!!!",
            "123456789012345",
            "543210987654321",
            "1234567890123456789012",
            "qwertyuiopasdfgh",
            "QwertyuiopAsdfghjkl",
            "poiuytrewqlkjhgfdsa",
            "1qaz2wsx3edc4rfv",
            "1q2w3e4r5t6y7u8i",
            "abcdefghijklmnop",
            "zyxwvutsrqponmlk",
            "qwertzuiop123456",
            "correct horse battery staple",
            "CorrectHorseBatteryStaple1!",
            "thequickbrownfox",
            "To be or not to be!",
            "monkey dragon 1234",
            "!!!!!!!!!!!!!!!password",
            "administrator123",
            "00000000000000000000",
        ] {
            assert_eq!(verdict(password), Some(FaultCode::Guessable), "{password}");
        }
    }

    #[test]
    fn names_of_the_account_and_the_site_do_not_make_a_password() {
        for password in [
            "ada-lovelace-1815",
            "adalovelace12345",
            "Countess1815!!!!!",
            "lovelace lovelace ada",
            "analytical engines",
            "AnalyticalEnginesWeekly",
            "4n4lytic4l3ng1n3s",
            "lovelace-estate1",
            "countesscountess12",
        ] {
            assert_eq!(verdict(password), Some(FaultCode::Guessable), "{password}");
            // For somebody else they are ordinary words, except where they only repeat.
        }
        assert!(check("analytical engines", PasswordContext::default(), "A Blog").is_ok());
        assert_eq!(verdict("lovelace wrote the first program"), None, "a name among other words is fine");
    }

    #[test]
    fn the_list_is_in_the_form_that_it_is_compared_in() {
        let mut lines = 0;
        for line in COMMON.lines() {
            assert!(line.chars().count() >= 3, "{line:?} is too short to be a piece");
            assert_eq!(fold(line).into_iter().collect::<String>(), line, "folded");
            lines += 1;
        }
        assert!(lines > 250, "{lines}");
    }
}
