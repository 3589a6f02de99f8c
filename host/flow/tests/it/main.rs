//! What goes from one batch to another.

use std::sync::Arc;

use sluice_flow::{Column, Pool, Texts};

#[test]
fn words_of_rows_that_are_left_out_stay_behind() {
    let words = ["secret", "a", "b", "a"].map(Arc::from).to_vec();
    let texts = Column::Text(Arc::new(Texts { words, codes: vec![0, 2, 3, 1, 2] }));
    let Column::Text(picked) = texts.select(&[4, 2, 1], &Pool::default()) else { panic!("it is text") };
    let read: Vec<&str> = picked.codes.iter().map(|code| &*picked.words[*code as usize]).collect();
    assert_eq!(read, ["b", "a", "b"]);
    assert_eq!(picked.words.iter().map(|word| &**word).collect::<Vec<_>>(), ["b", "a"]);
    let Column::Text(none) = texts.select(&[], &Pool::default()) else { panic!("it is text") };
    assert!(none.words.is_empty());
}
