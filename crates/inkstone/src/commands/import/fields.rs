//! Taking fields out of a head by their many names; what is left over was not understood.

use serde_json::Value;

use super::front_matter::Fields;

/// The fields of a head that nobody has asked for yet.
#[derive(Debug, Default)]
pub(super) struct Taker {
    fields: Fields,
}

/// An author, as a head names them.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct Author {
    /// Their name.
    pub(super) name: String,
    /// Their address, if it stands there.
    pub(super) email: Option<String>,
}

impl Taker {
    /// All fields of a head. Those of Zola's `taxonomies` count as if they stood beside the others.
    pub(super) fn new(mut fields: Fields) -> Self {
        if let Some(Value::Object(taxonomies)) = fields.remove("taxonomies") {
            for (name, value) in taxonomies {
                fields.entry(name).or_insert(value);
            }
        }
        Self { fields }
    }

    /// The first of these fields that is there; all of them count as understood. Names are
    /// compared without regard to case, as Hugo does.
    fn take(&mut self, names: &[&str]) -> Option<Value> {
        let mut found = None;
        for name in names {
            let key = self.fields.keys().find(|key| key.eq_ignore_ascii_case(name)).cloned();
            let value = key.and_then(|key| self.fields.remove(&key)).filter(|value| !value.is_null());
            found = found.or(value);
        }
        found
    }

    /// A text; numbers and truths as they were written.
    pub(super) fn text(&mut self, names: &[&str]) -> Option<String> {
        self.take(names).and_then(|value| text_of(&value)).filter(|text| !text.trim().is_empty())
    }

    /// Whether something is true, if it is said and can be either.
    pub(super) fn truth(&mut self, name: &str) -> Option<bool> {
        let truth = match self.fields.get(name)? {
            Value::Bool(truth) => *truth,
            Value::String(text) if text.eq_ignore_ascii_case("true") || text.eq_ignore_ascii_case("yes") => true,
            Value::String(text) if text.eq_ignore_ascii_case("false") || text.eq_ignore_ascii_case("no") => false,
            _ => return None,
        };
        self.fields.remove(name);
        Some(truth)
    }

    /// A list of texts. A single text is a list of one; or of those between commas or, where
    /// `by_words`, between spaces.
    pub(super) fn texts(&mut self, names: &[&str], by_words: bool) -> Vec<String> {
        let texts: Vec<String> = match self.take(names) {
            None => Vec::new(),
            Some(Value::Array(items)) => items.iter().filter_map(text_of).collect(),
            Some(value) => match text_of(&value) {
                Some(text) if text.contains(',') => text.split(',').map(str::to_owned).collect(),
                Some(text) if by_words => text.split_whitespace().map(str::to_owned).collect(),
                text => text.into_iter().collect(),
            },
        };
        texts.iter().map(|text| text.trim().to_owned()).filter(|text| !text.is_empty()).collect()
    }

    /// A list of addresses; a comma is part of one.
    pub(super) fn paths(&mut self, names: &[&str]) -> Vec<String> {
        match self.take(names) {
            None => Vec::new(),
            Some(Value::Array(items)) => items.iter().filter_map(text_of).collect(),
            Some(value) => text_of(&value).into_iter().collect(),
        }
    }

    /// Authors: a name, or an object with a name and an address, or a list of those. A comma is
    /// part of a name, since "Jr." and "and" are, and only people can tell.
    pub(super) fn authors(&mut self) -> Vec<Author> {
        let mut authors = Vec::new();
        for value in [self.take(&["authors"]), self.take(&["author"])].into_iter().flatten() {
            match value {
                Value::Array(items) => authors.extend(items.iter().filter_map(author_of)),
                value => authors.extend(author_of(&value)),
            }
        }
        let mut seen = std::collections::HashSet::new();
        authors.retain(|author: &Author| seen.insert(author.name.clone()));
        authors
    }

    /// The names of what nobody asked for; what stands in a table under the names of both.
    pub(super) fn left_over(self) -> Vec<String> {
        let mut names = Vec::new();
        for (name, value) in self.fields {
            match value {
                Value::Object(inner) if !inner.is_empty() => {
                    names.extend(inner.keys().map(|key| format!("{name}.{key}")));
                }
                _ => names.push(name),
            }
        }
        names
    }
}

fn text_of(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        Value::Bool(truth) => Some(truth.to_string()),
        Value::Null | Value::Array(_) | Value::Object(_) => None,
    }
}

fn author_of(value: &Value) -> Option<Author> {
    let (name, email) = match value {
        Value::Object(fields) => {
            let field = |name: &str| fields.get(name).and_then(text_of);
            (field("name").or_else(|| field("login"))?, field("email"))
        }
        // `Ada Lovelace <ada@example.com>`
        value => match text_of(value)?.split_once('<') {
            Some((name, rest)) if rest.trim_end().ends_with('>') => {
                (name.to_owned(), Some(rest.trim_end().trim_end_matches('>').to_owned()))
            }
            _ => (text_of(value)?, None),
        },
    };
    let name = name.replace('\0', "").split_whitespace().collect::<Vec<_>>().join(" ");
    (!name.is_empty()).then_some(Author { name, email: email.map(|email| email.trim().to_owned()) })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn taker(fields: Value) -> Taker {
        let Value::Object(fields) = fields else { panic!("not an object") };
        Taker::new(fields)
    }

    #[test]
    fn every_way_to_name_authors() {
        let author =
            |name: &str, email: Option<&str>| Author { name: name.to_owned(), email: email.map(str::to_owned) };
        for (fields, expected) in [
            (json!({"author": "Ada  Lovelace"}), vec![author("Ada Lovelace", None)]),
            (
                json!({"authors": ["Ada", "Grace, and others"]}),
                vec![author("Ada", None), author("Grace, and others", None)],
            ),
            (json!({"author": {"name": "Ada", "email": "a@b.c"}}), vec![author("Ada", Some("a@b.c"))]),
            (
                json!({"authors": [{"name": "Ada"}, "Grace", "Ada", {"x": 1}, ""]}),
                vec![author("Ada", None), author("Grace", None)],
            ),
            (json!({"author": "Ada <a@b.c>"}), vec![author("Ada", Some("a@b.c"))]),
            (json!({"taxonomies": {"authors": ["Ada"]}}), vec![author("Ada", None)]),
            (json!({"author": null}), vec![]),
        ] {
            assert_eq!(taker(fields.clone()).authors(), expected, "{fields}");
        }
    }

    #[test]
    fn every_way_to_list_tags() {
        for (fields, by_words, expected) in [
            (json!({"tags": ["a", " b c ", 2024, true, null, ""]}), false, vec!["a", "b c", "2024", "true"]),
            (json!({"tags": "a, b c"}), false, vec!["a", "b c"]),
            (json!({"tags": "a b"}), true, vec!["a", "b"]),
            (json!({"tags": "a b"}), false, vec!["a b"]),
            (json!({"Tags": "a"}), false, vec!["a"]),
            (json!({"taxonomies": {"tags": ["a"]}}), false, vec!["a"]),
            (json!({}), false, vec![]),
        ] {
            assert_eq!(taker(fields.clone()).texts(&["tags"], by_words), expected, "{fields}");
        }
    }

    #[test]
    fn what_nobody_asks_for_is_left_over() {
        let mut taker = taker(json!({"title": "x", "layout": "post", "extra": {"team": "a", "url": "b"}, "menu": {}}));
        assert_eq!(taker.text(&["title"]), Some("x".to_owned()));
        assert_eq!(taker.truth("draft"), None);
        let mut left = taker.left_over();
        left.sort();
        assert_eq!(left, ["extra.team", "extra.url", "layout", "menu"]);
    }
}
