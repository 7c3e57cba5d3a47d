//! Stories.
#[test]
fn a() {}
#[test]
fn b() {}
