//! Datasets: columns found or asked for, and errors that name file, line and column.

use sae_store::dataset::{Dataset, Document};
use sae_store::tokens::next_rows;
use sae_store::{Cut, Error, PackOptions, Packed, RowsInMemory, TokenRows};

fn documents(name: &str, content: &str) -> Result<Vec<Document>, Error> {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join(name);
    std::fs::write(&path, content).unwrap();
    Dataset::open(path)?.documents()?.collect()
}

fn text(text: &str) -> Document {
    Document::Text(text.to_owned())
}

#[test]
fn json_lines_are_documents() {
    let content = "{\"text\": \"one\", \"n\": 1}\n\n{\"text\": \"two\"}\n";
    assert_eq!(documents("a.jsonl", content).unwrap(), [text("one"), text("two")]);
    let content = "{\"input_ids\": [1, 2], \"text\": \"not this\"}\n";
    assert_eq!(documents("a.jsonl", content).unwrap(), [Document::Tokens(vec![1, 2])]);
}

#[test]
fn a_plain_text_is_one_document() {
    assert_eq!(documents("a.txt", "a\nb").unwrap(), [text("a\nb")]);
}

#[test]
fn what_cannot_be_read_is_named() {
    for (name, content, says) in [
        (
            "a.jsonl",
            "{\"words\": \"x\"}",
            "no column `tokens` or `input_ids` or `text` or `problem`, there are: words",
        ),
        (
            "a.jsonl",
            "{\"text\": \"x\"}\n{\"text\": 5}",
            "line 2: `text` is neither text nor token ids",
        ),
        ("a.jsonl", "{\"tokens\": [1, -2]}", "line 1: `tokens` is neither"),
        ("a.jsonl", "{", "line 1"),
        ("a.csv", "x", "expected .txt, .jsonl or .parquet"),
        ("a.parquet", "not parquet at all", "a.parquet"),
    ] {
        let error = documents(name, content).unwrap_err().to_string();
        assert!(error.contains(says), "`{says}` is not in: {error}");
    }
    let missing = Dataset::open("nowhere.jsonl").unwrap().documents().err().unwrap().to_string();
    assert!(missing.contains("nowhere.jsonl"), "{missing}");
}

#[test]
fn rows_begin_again_at_the_end_and_an_empty_dataset_is_an_error() {
    let open = || -> sae_store::Result<sae_store::tokens::Documents> {
        Ok(Box::new([vec![1, 2, 3], vec![4, 5]].into_iter().map(Ok)))
    };
    let options = PackOptions { context_size: 2, ..PackOptions::default() };
    let mut rows = Packed::new(open, options).unwrap();
    let got = next_rows(&mut rows, 5).unwrap();
    assert_eq!(got, [[1, 2], [3, 4], [1, 2], [3, 4], [1, 2]]);
    let options = PackOptions { context_size: 20, ..options };
    let error = next_rows(&mut Packed::new(open, options).unwrap(), 1).unwrap_err();
    assert!(matches!(error, Error::NoRows { context_size: 20 }), "{error}");
}

#[test]
fn short_rows_of_a_tokenised_dataset_are_errors() {
    let error = RowsInMemory::new(vec![vec![1, 2, 3], vec![1]], 2).err().unwrap();
    assert!(matches!(error, Error::ShortRow { row: 1, got: 1, want: 2 }), "{error}");
}

#[test]
fn rows_of_a_tokenised_dataset_are_cut_and_nothing_is_added() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.jsonl");
    std::fs::write(
        &path,
        "{\"tokens\": [1, 2, 3]}\n{\"tokens\": [4, 5, 6, 7]}\n{\"tokens\": [8]}\n",
    )
    .unwrap();
    let dataset = Dataset::open(&path).unwrap();
    assert!(dataset.is_tokenized().unwrap());
    let open = move || dataset.tokens(|_| Ok::<_, Error>(Vec::new()));
    let mut rows = Cut::new(open, 3).unwrap();
    assert_eq!(next_rows(&mut rows, 2).unwrap(), [[1, 2, 3], [4, 5, 6]]);
    let error = rows.next_row().unwrap_err().to_string();
    assert!(error.contains("row 2") && error.contains("1 tokens"), "{error}");
    rows.rewind().unwrap();
    assert_eq!(rows.next_row().unwrap(), Some(vec![1, 2, 3]));
    std::fs::write(&path, "").unwrap();
    assert!(!Dataset::open(&path).unwrap().is_tokenized().unwrap());
}
