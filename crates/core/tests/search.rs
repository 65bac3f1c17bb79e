//! Words out of the real world's scripts, and the laws that every search keeps.
#![expect(clippy::unwrap_used, reason = "a test may stop at once")]

mod udhr;

use inkstone_core::search::{Search, of_html, of_text};
use inkstone_core::{FaultCode, content, posts};
use proptest::prelude::*;
use unicode_normalization::UnicodeNormalization as _;

fn search(text: &str) -> Search {
    Search::try_from(text.to_owned()).unwrap()
}

/// What an index has to do: whether `words` have all terms.
fn finds(search: &Search, words: &str) -> bool {
    let words: Vec<&str> = words.split(' ').collect();
    let is_there = |term: &inkstone_core::search::Term| {
        let (last, first) = term.words().split_last().unwrap();
        words.windows(term.words().len()).any(|run| {
            let (at_last, at_first) = run.split_last().unwrap();
            at_first == first && if term.is_prefix() { at_last.starts_with(last) } else { at_last == last }
        })
    };
    !search.terms().is_empty() && search.terms().iter().all(is_there)
}

#[test]
fn texts_are_cut_into_words() {
    for (text, words) in [
        ("Ink on Stone!", "ink on stone"),
        ("  don't  re-read snake_case 1.79.0 ", "don t re read snake case 1 79 0"),
        ("C++, C# and F♯", "c c and f"),
        ("Crème BRÛLÉE Cre\u{300}me bru\u{302}le\u{301}e", "creme brulee creme brulee"),
        ("Straße STRASSE Łódź Ærø Đà Nẵng İstanbul ışık", "strasse strasse lodz aero da nang istanbul isik"),
        ("ΟΔΥΣΣΕΥΣ Ὀδυσσεύς", "οδυσσευσ οδυσσευσ"),
        ("Ёлка йод ёлка", "елка иод елка"),
        ("ﬁne ① Ⅷ ℡ ｆｕｌｌ", "fine 1 viii tel full"),
        ("مُحَمَّد محمد آدم أدم كـــتاب", "محمد محمد ادم ادم كتاب"),
        ("שָׁלוֹם שלום", "שלום שלום"),
        ("हिन्दी में", "हिन्दी में"),
        ("東京都、ﾄｳｷｮｳ", "東 京 都 ト ウ キ ョ ウ"),
        ("ﾊﾞバは\u{3099}ば", "バ バ ば ば"),
        ("한국어를", "한 국 어 를"),
        ("ภาษาไทย", "ภ า ษ า ไ ท ย"),
        ("soft\u{ad}hyphen zero\u{200b}width", "softhyphen zerowidth"),
        ("\u{301} a", "a"),
        ("日本語text", "日 本 語 text"),
        ("…—!?", ""),
        ("", ""),
    ] {
        assert_eq!(of_text(text), words, "{text:?}");
    }
    assert_eq!(of_text(&"x".repeat(500)).len(), 64);
}

#[test]
fn pages_are_cut_into_what_is_read() {
    for (html, words) in [
        ("<p>Ink on <em>stone</em></p>\n<p>again</p>", "ink on stone again"),
        ("<p>re<strong>write</strong></p><p>one</p><p>two</p>", "rewrite one two"),
        ("one<br>two<br />three", "one two three"),
        (r#"<a href="https://example.org/?a>b&amp;c" title="x > y">link</a>"#, "link"),
        (r#"<img src="a.png" alt="unseen">seen"#, "seen"),
        ("a &lt;b&gt; &amp; c&nbsp;d &quot;e&quot; R&amp;D", "a b c d e r d"),
        (r##"text<sup class="footnote-ref"><a href="#fn-1">1</a></sup>"##, "text 1"),
        ("H<sub>2</sub>O", "h2o"),
        ("<pre><code>let x = &amp;y;\n</code></pre>", "let x y"),
        ("e<b>\u{301}</b>t", "et"),
        ("", ""),
    ] {
        assert_eq!(of_html(html), words, "{html}");
    }
}

#[test]
fn what_is_written_in_markdown_is_found_as_it_is_read() {
    let source = "# A *title*\n\nSee the [book](https://doc.rust-lang.org/book) for `re_read` & <script>evil</script> more[^1].\n\n[^1]: A note.\n";
    let html = content::render(posts::Markdown::try_from(source.to_owned()).unwrap()).html;
    let words = of_html(&html);
    for found in ["\"a title\"", "\"the book for\"", "re_read", "note", "\"re read more\""] {
        assert!(finds(&search(found), &words), "{found} in {words}");
    }
    for absent in ["https", "org", "evil", "script", "\"title a\""] {
        assert!(!finds(&search(absent), &words), "{absent} in {words}");
    }
}

#[test]
fn a_search_is_read_into_terms() {
    for (text, canonical) in [
        ("ink", "ink"),
        ("  Stone   INK ink ", "ink stone"),
        ("\"Ink on stone\"", "\"ink on stone\""),
        ("\"Ink on", "\"ink on\""),
        ("re-read don't", "\"don t\" \"re read\""),
        ("pres*", "pres*"),
        ("re-rea*", "\"re rea\"*"),
        ("\"on sto\"*", "\"on sto\"*"),
        ("in*k ** stone***", "in* k stone*"),
        ("東京*", "\"東 京\""),
        ("a\"b\"c", "a b c"),
        ("東京", "\"東 京\""),
        ("NOT ink OR stone", "ink not or stone"),
        ("title:ink", "\"title ink\""),
        ("+ink -stone ^x", "ink stone x"),
        ("ink !!! \"\" *", "ink"),
        ("!!!", "\"\""),
        ("   ", "\"\""),
        ("\"", "\"\""),
    ] {
        assert_eq!(search(text).to_string(), canonical, "{text:?}");
        assert_eq!(search(canonical), search(text), "{text:?}");
    }
}

#[test]
fn a_search_is_neither_empty_nor_endless() {
    let refused = |text: String| Search::try_from(text).unwrap_err().code;
    let letters = |number: u32| ('a'..).take(number as usize).map(|c| c.to_string()).collect::<Vec<_>>();
    assert_eq!(refused(String::new()), FaultCode::TooShort);
    assert_eq!(refused("x".repeat(Search::MAX_CHARS + 1)), FaultCode::TooLong);
    assert_eq!(refused("a ".repeat(10_000)), FaultCode::TooLong);
    assert_eq!(refused("a\0b".to_owned()), FaultCode::BadCharacter);
    assert_eq!(search(&"é".repeat(Search::MAX_CHARS)).terms().len(), 1);
    assert_eq!(search(&letters(16).join(" ")).terms().len(), Search::MAX_TERMS);
    assert_eq!(refused(letters(17).join(" ")), FaultCode::TooMany);
    assert_eq!(search(&"a a ".repeat(50)).terms().len(), 1, "the same word again is no other word");
    assert_eq!(search(&"東".repeat(Search::MAX_WORDS)).terms()[0].words().len(), Search::MAX_WORDS);
    assert_eq!(refused("東".repeat(Search::MAX_WORDS + 1)), FaultCode::TooMany);
    assert_eq!(refused("a-".repeat(Search::MAX_WORDS + 1)), FaultCode::TooMany);
    assert_eq!(search("aa* ab* ac* ad*").terms().len(), Search::MAX_PREFIXES);
    assert_eq!(refused("aa* ab* ac* ad* ae*".to_owned()), FaultCode::TooMany);
    for text in ["a*", "ink s*", "re-r*", "é*"] {
        assert_eq!(refused(text.to_owned()), FaultCode::TooShort, "{text}");
    }
}

/// Whatever somebody copies out of a text finds it: words in all scripts, parts of what has no spaces.
#[test]
fn in_every_language_words_of_a_text_find_it() {
    let languages = udhr::declarations();
    assert_eq!(languages.len(), 532);
    for (language, texts) in &languages {
        let whole = of_text(&texts.join("\n"));
        assert!(!whole.is_empty(), "{language}");
        let mut written: Vec<&str> = texts.iter().flat_map(|text| text.split_whitespace()).collect();
        written.sort_unstable();
        written.dedup();
        // Twenty from all over the text will do.
        for word in written.iter().step_by(written.len().div_ceil(20)) {
            let is_cut = word.chars().count() > 20;
            let word: String = word.replace(['"', '*'], " ").chars().take(20).collect();
            // What is cut in the middle of a word is found as a beginning.
            let star = if is_cut { "*" } else { "" };
            for text in [word.clone(), word.nfd().collect::<String>(), word.to_lowercase()] {
                // Not when that leaves a single letter behind a hyphen.
                let Ok(search) = Search::try_from(format!("\"{text}\"{star}")) else { continue };
                let is_found = search.terms().is_empty() || finds(&search, &whole);
                assert!(is_found, "{language}: {text:?} ({search}) is not in its text");
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn words_are_words_already(text in "\\PC{0,200}|.{0,100}|[\u{300}-\u{370}\u{600}-\u{670}\u{e00}-\u{e7f}\u{1100}-\u{11ff}\u{3041}-\u{30ff} a]{0,40}") {
        let words = of_text(&text);
        prop_assert_eq!(of_text(&words), words.clone());
        prop_assert!(!words.contains(['"', '*', '\0']) && !words.contains("  ") && words.trim() == words);
        prop_assert!(words.split(' ').all(|word| word.chars().count() <= 64));
    }

    #[test]
    fn what_looks_the_same_is_the_same(text in "\\PC{0,200}") {
        prop_assert_eq!(of_text(&text.nfd().collect::<String>()), of_text(&text));
        prop_assert_eq!(of_text(&text.nfc().collect::<String>()), of_text(&text));
    }

    #[test]
    fn a_search_written_in_its_one_way_is_itself(text in "[a-cé\"* 東!-]{1,30}|\\PC{1,100}") {
        // Spelling out compatibility characters can make a text longer than a search may be.
        if let Ok(read) = Search::try_from(text)
            && read.to_string().chars().count() <= Search::MAX_CHARS
        {
            prop_assert_eq!(Search::try_from(read.to_string()).unwrap(), read);
        }
    }

    #[test]
    fn any_page_can_be_cut(html in "[<>/&;\"a-c é東]{0,100}|\\PC{0,100}") {
        let words = of_html(&html);
        prop_assert_eq!(of_text(&words), words);
    }
}
