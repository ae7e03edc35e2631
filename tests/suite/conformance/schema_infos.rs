//! Schema information: names with documents.

use shardlet::error::Refusal;
use shardlet::gsm::{GlobalStore, SchemaInfoEntry};
use shardlet::{CreateMode, SchemaInfo};

use super::Environment;
use super::fixture::{Fixture, refused};
use crate::support::golden_files::canonical;

/// Documents that engines might make something else of.
const DOCUMENTS: [&str; 5] = [
    "<Schema/>",
    r#"<Schema xmlns:i="http://www.w3.org/2001/XMLSchema-instance"><Set i:type="ArrayOfIt" /></Schema>"#,
    "<a>&lt;&gt;&amp;&quot;&apos; Zürich 東京 😀 ]]&gt;</a>",
    r#"<a b="&quot;&#10;&lt;'"><c> blanks  around </c>and text<c/></a>"#,
    "<a><b>one</b><b>two</b><!-- a comment --></a>",
];

/// What the store holds: names, and what the documents say.
async fn stored<E: Environment>(fixture: &Fixture<E>) -> Vec<(String, String)> {
    let entries = fixture.store().schema_infos().await.unwrap();
    let mut all: Vec<_> = entries.into_iter().map(|entry| (entry.name, canonical(&entry.document))).collect();
    all.sort();
    all
}

fn expected(entries: &[(&str, &str)]) -> Vec<(String, String)> {
    let mut all: Vec<_> = entries.iter().map(|(name, document)| ((*name).to_owned(), canonical(document))).collect();
    all.sort();
    all
}

fn found(entry: Option<SchemaInfoEntry>) -> Option<(String, String)> {
    entry.map(|entry| (entry.name, canonical(&entry.document)))
}

pub async fn schema_information_is_added_found_and_listed<E: Environment>() {
    let fixture = Fixture::<E>::new().await;
    let store = fixture.store();
    assert_eq!(stored(&fixture).await, []);
    assert_eq!(store.find_schema_info("orders").await.unwrap(), None);
    let longest = "表".repeat(SchemaInfo::MAX_NAME_LENGTH);
    let names = ["orders", "'; DROP TABLE x; --\"]", "😀 <&> \t_%", longest.as_str(), " with a blank before"];
    for (number, name) in names.iter().enumerate() {
        store.add_schema_info(name, &format!("<a n=\"{number}\"/>")).await.unwrap();
    }
    let documents: Vec<_> = (0..names.len()).map(|number| format!("<a n=\"{number}\"/>")).collect();
    let all: Vec<_> = names.into_iter().zip(documents.iter().map(String::as_str)).collect();
    assert_eq!(stored(&fixture).await, expected(&all));
    for (name, document) in all {
        let entry = store.find_schema_info(name).await.unwrap();
        assert_eq!(found(entry), Some((name.to_owned(), canonical(document))), "{name:?}");
    }
    assert_eq!(store.find_schema_info("order").await.unwrap(), None);
    assert_eq!(store.find_schema_info("%").await.unwrap(), None, "no pattern");
    // It belongs to no map.
    assert_eq!(store.shard_maps().await.unwrap(), []);
}

pub async fn a_document_says_the_same_when_it_comes_back<E: Environment>() {
    let fixture = Fixture::<E>::new().await;
    let store = fixture.store();
    store.add_schema_info("updated", "<none/>").await.unwrap();
    let many = format!("<a>{}</a>", "<b>0123456789</b>".repeat(10_000));
    for document in DOCUMENTS.into_iter().chain([many.as_str()]) {
        store.add_schema_info("added", document).await.unwrap();
        store.update_schema_info("updated", document).await.unwrap();
        for name in ["added", "updated"] {
            let entry = store.find_schema_info(name).await.unwrap().unwrap();
            assert!(canonical(&entry.document) == canonical(document), "{name}: {:.200}", entry.document);
            assert!(entry.document.starts_with('<'), "{:.20?}", entry.document);
        }
        assert!(stored(&fixture).await == expected(&[("added", document), ("updated", document)]));
        store.remove_schema_info("added").await.unwrap();
    }
}

pub async fn names_compare_without_case_and_trailing_blanks<E: Environment>() {
    let fixture = Fixture::<E>::new().await;
    let store = fixture.store();
    store.add_schema_info("Ördér", "<a/>").await.unwrap();
    for (name, there) in
        [("Ördér", true), ("öRDÉR", true), ("ördér  ", true), ("order", false), (" Ördér", false), ("Ördé", false)]
    {
        let entry = found(store.find_schema_info(name).await.unwrap());
        assert_eq!(entry, there.then(|| ("Ördér".to_owned(), canonical("<a/>"))), "{name:?}");
        let updated = store.update_schema_info(name, "<a/>").await;
        if there {
            updated.unwrap();
        } else {
            refused(updated, Refusal::SchemaInfoNameDoesNotExist, name);
            refused(store.remove_schema_info(name).await, Refusal::SchemaInfoNameDoesNotExist, name);
        }
    }
    store.update_schema_info("ÖRDÉR ", "<b/>").await.unwrap();
    assert_eq!(stored(&fixture).await, expected(&[("Ördér", "<b/>")]), "it keeps the name that it was added under");
    store.remove_schema_info("ördÉr").await.unwrap();
    assert_eq!(stored(&fixture).await, []);
}

pub async fn a_name_that_is_taken_is_refused<E: Environment>() {
    let fixture = Fixture::<E>::new().await;
    let store = fixture.store();
    store.add_schema_info("orders", "<a/>").await.unwrap();
    for name in ["orders", "ORDERS", "orders "] {
        refused(store.add_schema_info(name, "<b/>").await, Refusal::SchemaInfoNameConflict, name);
        assert_eq!(stored(&fixture).await, expected(&[("orders", "<a/>")]), "{name:?}");
    }
}

pub async fn one_of_many_clients_adds_a_name<E: Environment>() {
    let fixture = Fixture::<E>::new().await;
    let documents: Vec<_> = (0..8).map(|number| format!("<a n=\"{number}\"/>")).collect();
    let adding = documents.iter().map(|document| fixture.store().add_schema_info("orders", document));
    let added = futures::future::join_all(adding).await;
    let winner = added.iter().position(Result::is_ok).expect("one of them adds it");
    for (number, outcome) in added.into_iter().enumerate().filter(|(number, _)| *number != winner) {
        refused(outcome, Refusal::SchemaInfoNameConflict, &format!("client {number}"));
    }
    assert_eq!(stored(&fixture).await, expected(&[("orders", &documents[winner])]));
}

pub async fn schema_information_is_updated_and_removed<E: Environment>() {
    let fixture = Fixture::<E>::new().await;
    let store = fixture.store();
    refused(store.update_schema_info("a", "<x/>").await, Refusal::SchemaInfoNameDoesNotExist, "update");
    refused(store.remove_schema_info("a").await, Refusal::SchemaInfoNameDoesNotExist, "remove");
    assert_eq!(stored(&fixture).await, []);
    store.add_schema_info("a", "<x/>").await.unwrap();
    store.add_schema_info("b", "<x/>").await.unwrap();
    store.update_schema_info("a", "<y/>").await.unwrap();
    store.update_schema_info("a", "<y/>").await.unwrap();
    assert_eq!(stored(&fixture).await, expected(&[("a", "<y/>"), ("b", "<x/>")]));
    store.remove_schema_info("a").await.unwrap();
    refused(store.remove_schema_info("a").await, Refusal::SchemaInfoNameDoesNotExist, "removed before");
    assert_eq!(stored(&fixture).await, expected(&[("b", "<x/>")]));
    store.add_schema_info("a", "<z/>").await.unwrap();
    assert_eq!(stored(&fixture).await, expected(&[("a", "<z/>"), ("b", "<x/>")]));
}

pub async fn a_store_that_is_replaced_has_none<E: Environment>() {
    let fixture = Fixture::<E>::new().await;
    fixture.store().add_schema_info("a", "<x/>").await.unwrap();
    fixture.store().create_global(CreateMode::Replace).await.unwrap();
    assert_eq!(stored(&fixture).await, []);
}
