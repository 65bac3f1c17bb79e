//! Slugs from the real world's scripts, and the laws that every slug keeps.
#![expect(clippy::unwrap_used, reason = "a test may stop at once")]

mod udhr;

use inkstone_core::text::Slug;
use inkstone_core::users::Handle;
use proptest::prelude::*;

fn assert_valid(slug: &Slug, source: &str) {
    let parsed = Slug::try_from(slug.as_str().to_owned());
    assert_eq!(parsed.as_ref(), Ok(slug), "{source:?} gave {:?}", slug.as_str());
}

#[test]
fn every_language_gives_slugs_that_say_something() {
    let languages = udhr::declarations();
    assert_eq!(languages.len(), 532);
    for (language, texts) in &languages {
        assert!(!texts.is_empty(), "{language} has no texts");
        for text in texts {
            assert_valid(&Slug::from_text(text, "post"), text);
        }
        // A script that cannot be transliterated would leave nothing but the fallback.
        let telling = texts.iter().filter(|text| !Slug::from_text(text, "post").as_str().starts_with("post")).count();
        assert!(telling * 2 > texts.len(), "{language}: {telling} of {} slugs say something", texts.len());
    }
}

#[test]
fn different_sentences_of_a_language_keep_different_slugs() {
    for (language, mut texts) in udhr::declarations() {
        texts.sort_unstable();
        texts.dedup();
        let mut slugs: Vec<Slug> = texts.iter().map(|text| Slug::from_text(text, "post")).collect();
        let number = slugs.len();
        slugs.sort_unstable();
        slugs.dedup();
        // Cut at a hundred characters, a few long sentences begin alike.
        assert!(slugs.len() * 10 >= number * 8, "{language}: {number} texts, {} slugs", slugs.len());
    }
}

#[test]
fn what_means_something_else_does_not_become_a_slug() {
    for (text, slug) in [
        ("Hello, World!", "hello-world"),
        ("Crème brûlée", "creme-brulee"),
        ("Cre\u{300}me bru\u{302}le\u{301}e", "creme-brulee"),
        ("new", "post-new"),
        ("2026", "post-2026"),
        ("", "post"),
        ("…", "post"),
        ("\u{0}", "post"),
        ("../../etc/passwd", "etc-passwd"),
        ("北京", "bei-jing"),
        ("Что нового", "chto-novogo"),
    ] {
        assert_eq!(Slug::from_text(text, "post").as_str(), slug, "{text:?}");
    }
}

#[test]
fn long_titles_are_cut_between_words() {
    let slug = Slug::from_text(&"word ".repeat(50), "post");
    assert_eq!(slug.as_str().len(), 99);
    assert!(slug.as_str().ends_with("-word"));
    assert_eq!(Slug::from_text(&"x".repeat(500), "post").as_str().len(), Slug::MAX_CHARS);
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn every_text_gives_a_valid_slug(text in "\\PC{0,200}|[a-z0-9 -]{90,130}|[0-9]{1,120}|.{0,20}") {
        assert_valid(&Slug::from_text(&text, "post"), &text);
    }

    #[test]
    fn the_slug_of_a_slug_is_itself(text in "\\PC{0,200}|[a-z0-9 -]{90,130}|[0-9]{1,120}") {
        let slug = Slug::from_text(&text, "post");
        prop_assert_eq!(Slug::from_text(slug.as_str(), "post"), slug);
    }

    #[test]
    fn numbering_keeps_a_slug_valid_and_tells_it_apart(
        text in "\\PC{0,200}|[a-z0-9 -]{90,130}",
        a in any::<u32>(),
        b in any::<u32>(),
    ) {
        let slug = Slug::from_text(&text, "post");
        assert_valid(&slug.numbered(a), &text);
        prop_assert_eq!(slug.numbered(a) == slug.numbered(b), a == b);
    }

    #[test]
    fn every_name_gives_a_valid_handle(name in "\\PC{0,120}|[a-z0-9 -]{40,80}|[0-9]{1,120}") {
        let handle = Handle::from_name(&name);
        prop_assert_eq!(Handle::try_from(handle.as_str().to_owned()), Ok(handle.clone()));
        prop_assert_eq!(Handle::from_name(handle.as_str()), handle);
    }

    #[test]
    fn whatever_is_accepted_as_a_slug_is_kept_as_it_is(text in "[a-z0-9-]{0,105}|\\PC{0,20}") {
        if let Ok(slug) = Slug::try_from(text.clone()) {
            prop_assert_eq!(slug.as_str(), text.as_str());
            prop_assert_eq!(Slug::from_text(&text, "post"), slug);
        }
    }
}
