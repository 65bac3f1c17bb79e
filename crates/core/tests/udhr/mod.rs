//! One declaration in 532 languages.

use std::collections::BTreeMap;
use std::io::Read as _;

/// The beginning of the Universal Declaration of Human Rights, by language.
pub(crate) fn declarations() -> BTreeMap<String, Vec<String>> {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../../shared/data/udhr/declarations-532-languages.tar.gz");
    let file = std::fs::File::open(path).unwrap_or_else(|error| {
        panic!("this test needs ../shared/data/udhr/declarations-532-languages.tar.gz beside the project: {error}")
    });
    let mut archive = tar::Archive::new(flate2::read::GzDecoder::new(file));
    let mut languages = BTreeMap::new();
    for entry in archive.entries().unwrap() {
        let mut entry = entry.unwrap();
        let name = entry.path().unwrap().to_string_lossy().into_owned();
        let Some(language) = name.strip_prefix("declaration/").and_then(|name| name.strip_suffix(".html")) else {
            continue;
        };
        let mut html = String::new();
        entry.read_to_string(&mut html).unwrap();
        languages.insert(language.to_owned(), texts(&html));
    }
    languages
}

/// What stands between the tags, piece by piece.
fn texts(html: &str) -> Vec<String> {
    let body = html.split_once("<body").map_or(html, |(_, body)| body);
    let pieces = body.split('<').filter_map(|piece| piece.split_once('>')).map(|(_, text)| text.trim().to_owned());
    pieces.filter(|text| !text.is_empty()).collect()
}
