//! Texts that cannot be wrong: slugs, and the checks that every text field shares.

use unicode_normalization::UnicodeNormalization as _;

use crate::error::{Fault, FaultCode};

/// Refuses NUL, which neither PostgreSQL nor C can hold.
pub fn check_no_nul(text: &str) -> Result<(), Fault> {
    if text.contains('\0') {
        return Err(Fault::here(FaultCode::BadCharacter, "NUL is not allowed."));
    }
    Ok(())
}

/// A text of at most `max` characters.
pub fn check_text(text: &str, max: usize) -> Result<(), Fault> {
    if text.chars().count() > max {
        return Err(Fault::here(FaultCode::TooLong, format!("At most {max} characters.")));
    }
    check_no_nul(text)
}

/// A single line of `min` to `max` characters that is not only white space.
pub fn check_line(text: &str, min: usize, max: usize) -> Result<(), Fault> {
    check_text(text, max)?;
    if text.chars().filter(|c| !c.is_whitespace()).count() < min {
        return Err(Fault::here(FaultCode::TooShort, too_few(min)));
    }
    if text.contains(['\n', '\r']) {
        return Err(Fault::here(FaultCode::BadCharacter, "Line breaks are not allowed."));
    }
    Ok(())
}

fn too_few(min: usize) -> String {
    match min {
        1 => "At least 1 character that is not white space.".to_owned(),
        _ => format!("At least {min} characters that are not white space."),
    }
}

/// The last part of an address: lower-case ASCII letters, digits and single hyphens between them.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Slug(String);

impl Slug {
    /// The most characters.
    pub const MAX_CHARS: usize = 100;
    /// Words that mean something in addresses already.
    pub const RESERVED: &'static [&'static str] = &["new", "by-slug", "by-path", "drafts", "me"];

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Makes a slug out of any text in any script: transliterated, cut at a word where it is too
    /// long, and `fallback` where nothing is left.
    pub fn from_text(text: &str, fallback: &str) -> Self {
        let composed: String = text.nfc().collect();
        let mut slug = slug::slugify(&composed);
        if slug.len() > Self::MAX_CHARS {
            // Leave the last word whole; a single endless word is cut.
            let cut = slug[..=Self::MAX_CHARS]
                .rfind('-')
                .filter(|cut| *cut >= Self::MAX_CHARS / 2)
                .unwrap_or(Self::MAX_CHARS);
            slug.truncate(cut);
        }
        let slug = slug.trim_matches('-');
        if slug.is_empty() {
            return Self(fallback.to_owned());
        }
        if Self::is_unsuited(slug) {
            let mut slug = format!("{fallback}-{slug}");
            slug.truncate(Self::MAX_CHARS);
            return Self(slug);
        }
        Self(slug.to_owned())
    }

    /// The same slug with `-number` at its end, within the length.
    #[must_use]
    pub fn numbered(&self, number: u32) -> Self {
        let suffix = format!("-{number}");
        let room = Self::MAX_CHARS - suffix.len();
        let stem = self.0[..self.0.len().min(room)].trim_end_matches('-');
        Self(format!("{stem}{suffix}"))
    }

    /// Reserved words mean something else, and digits alone could be taken for an id.
    fn is_unsuited(text: &str) -> bool {
        Self::RESERVED.contains(&text) || text.bytes().all(|b| b.is_ascii_digit())
    }
}

impl std::fmt::Display for Slug {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl Slug {
    /// A slug to look something up by: of the right form, whether or not it could be given.
    ///
    /// # Errors
    /// `TooShort`, `TooLong` or `BadFormat`.
    pub fn named(text: String) -> Result<Self, Fault> {
        if text.is_empty() {
            return Err(Fault::here(FaultCode::TooShort, "At least 1 character."));
        }
        if text.len() > Self::MAX_CHARS {
            return Err(Fault::here(FaultCode::TooLong, format!("At most {} characters.", Self::MAX_CHARS)));
        }
        let well_formed = text
            .split('-')
            .all(|word| !word.is_empty() && word.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit()));
        if !well_formed {
            return Err(Fault::here(
                FaultCode::BadFormat,
                "Lower-case letters a-z, digits, and single hyphens between them.",
            ));
        }
        Ok(Self(text))
    }
}

impl TryFrom<String> for Slug {
    type Error = Fault;

    fn try_from(text: String) -> Result<Self, Fault> {
        let slug = Self::named(text)?;
        if Self::is_unsuited(&slug.0) {
            return Err(Fault::here(FaultCode::NotAllowed, "This word is reserved, or could be taken for an id."));
        }
        Ok(slug)
    }
}
