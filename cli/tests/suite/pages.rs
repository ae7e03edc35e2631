//! The page that draws a map, as a file.

use std::io::Read;

use crate::support::World;

/// A page is replaced as a whole, and nothing is left beside it; one that cannot be written is a failure.
#[test]
fn a_page_is_renewed() {
    let world = World::filled();
    let pages = world.path().join("pages");
    std::fs::create_dir(&pages).unwrap();
    let page = pages.join("orders.html");
    std::fs::write(&page, "old").unwrap();
    // Whoever has it open goes on to read what it was.
    let mut open = std::fs::File::open(&page).unwrap();
    let _ = world.run(&["map", "show", "orders", "--html", page.to_str().unwrap()]).ok();
    let mut read = String::new();
    let _ = open.read_to_string(&mut read).unwrap();
    assert_eq!(read, "old");
    assert!(std::fs::read_to_string(&page).unwrap().contains("<html"));
    assert_eq!(std::fs::read_dir(&pages).unwrap().count(), 1);
    let nowhere = pages.join("nowhere/orders.html");
    let _ = world.run(&["map", "show", "orders", "--html", nowhere.to_str().unwrap()]).exits(5).says("orders.html");
}
