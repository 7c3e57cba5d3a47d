//! A real Chromium, and the people in front of it: they click what has a name and fill in what has a label, and everything they come to
//! is checked with axe, for its width and for what it asks elsewhere (`driver.cjs`).
//!
//! `tests/run` installs Chromium, Playwright and axe, and says where (`QUITTANCE_TEST_CHROMIUM`, `QUITTANCE_TEST_NODE_PATH`). Where they
//! cannot be had, [`Chromium::start`] says so and the story is left out.

use std::{
    cell::RefCell,
    io::{BufRead as _, BufReader, Write as _},
    path::Path,
    process::{Child, ChildStdin, ChildStdout, Command, Stdio},
};

use serde_json::{Value, json};
use tests::world::World;

/// What is read of a page that is a picture: enough to judge a long list by.
const MOST_HIGH: u32 = 1600;

/// A browser of its own for a story. Dropping it closes it.
pub struct Chromium {
    child: Child,
    /// None once it is closed.
    pipes: RefCell<Option<(ChildStdin, BufReader<ChildStdout>)>>,
    base: String,
}

/// How somebody looks at pages.
#[derive(Clone, Copy, Debug)]
pub struct View {
    /// Pixels.
    pub width: u32,
    /// Pixels.
    pub height: u32,
    /// `light` or `dark`.
    pub scheme: &'static str,
    /// Whether scripts run.
    pub javascript: bool,
}

/// A desk by day, which is what most look like.
pub const DESK: View = View {
    width: 1280,
    height: 900,
    scheme: "light",
    javascript: true,
};

/// A phone by night.
pub const PHONE: View = View {
    width: 390,
    height: 844,
    scheme: "dark",
    javascript: true,
};

impl Chromium {
    /// In front of this world's portal, if a browser is there.
    pub fn start(world: &World) -> Option<Self> {
        let (Some(chromium), Some(packages)) = (
            std::env::var_os("QUITTANCE_TEST_CHROMIUM"),
            std::env::var_os("QUITTANCE_TEST_NODE_PATH"),
        ) else {
            eprintln!("skipped: no browser is there; tests/run installs one");
            return None;
        };
        let mut child = Command::new("node")
            .arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("it/browser/driver.cjs"))
            .env("NODE_PATH", packages)
            .env("QUITTANCE_TEST_CHROMIUM", chromium)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let pipes = (
            child.stdin.take().unwrap(),
            BufReader::new(child.stdout.take().unwrap()),
        );
        Some(Self {
            child,
            pipes: RefCell::new(Some(pipes)),
            // A name, as browsers send cookies that are for TLS alone to nobody else without it.
            base: world.portal_base().replace("127.0.0.1", "localhost"),
        })
    }

    /// Somebody with a browser window of their own, who is not logged in.
    pub fn person<'a>(&'a self, who: &'a str, view: View) -> Person<'a> {
        let person = Person {
            chromium: self,
            who,
            within: Value::Null,
        };
        let view = seen_through(view);
        person.order(json!({ "do": "enter", "base": self.base, "view": view }));
        person
    }

    fn ask(&self, order: &Value) -> Result<Value, String> {
        let mut pipes = self.pipes.borrow_mut();
        let (input, output) = pipes.as_mut().unwrap();
        writeln!(input, "{order}").unwrap();
        let mut line = String::new();
        output.read_line(&mut line).unwrap();
        let mut answer: Value =
            serde_json::from_str(&line).map_err(|_| format!("the driver ended: {line}"))?;
        match answer.get_mut("fault") {
            Some(fault) => Err(fault.as_str().unwrap_or_default().to_owned()),
            None => Ok(answer["value"].take()),
        }
    }
}

impl Drop for Chromium {
    fn drop(&mut self) {
        // The driver ends with its input, and takes the browser with it.
        self.pipes.take();
        self.child.wait().unwrap();
    }
}

fn seen_through(view: View) -> Value {
    json!({ "width": view.width, "height": view.height, "scheme": view.scheme, "javascript": view.javascript })
}

/// Somebody in front of the browser. What they look for and cannot find ends the story, with what they saw instead.
pub struct Person<'a> {
    chromium: &'a Chromium,
    who: &'a str,
    within: Value,
}

impl Person<'_> {
    fn order(&self, mut order: Value) -> Value {
        order["who"] = json!(self.who);
        order["within"] = self.within.clone();
        match self.chromium.ask(&order) {
            Ok(value) => value,
            Err(fault) => {
                let read = json!({ "do": "read", "who": self.who });
                let seen = self.chromium.ask(&read);
                panic!("{} cannot {order}: {fault}\nWhat is there: {seen:?}", self.who)
            }
        }
    }

    /// Looks into the only row, panel or form that holds this text.
    pub fn within(&self, role: &str, text: &str) -> Self {
        Self {
            chromium: self.chromium,
            who: self.who,
            within: json!({ "role": role, "text": text }),
        }
    }

    /// The same person.
    pub fn again(&self) -> Self {
        Self {
            chromium: self.chromium,
            who: self.who,
            within: Value::Null,
        }
    }

    /// Types an address; the status of the answer.
    pub fn visit(&self, path: &str) -> u64 {
        self.order(json!({ "do": "visit", "path": path }))
            .as_u64()
            .unwrap()
    }

    /// Loads the page again.
    pub fn reload(&self) {
        self.order(json!({ "do": "reload" }));
    }

    /// Clicks a link, which leads on.
    pub fn follow(&self, name: &str) {
        self.order(json!({ "do": "press", "role": "link", "name": name }));
    }

    /// Clicks a link of the navigation that has it, the portal's or a section's.
    pub fn menu(&self, name: &str) {
        self.within("navigation", name).follow(name);
    }

    /// Clicks a button, and sees what comes of it.
    pub fn press(&self, name: &str) {
        self.order(json!({ "do": "press", "role": "button", "name": name }));
    }

    /// Opens what is folded.
    pub fn unfold(&self, name: &str) {
        self.order(json!({ "do": "unfold", "name": name }));
    }

    /// Fills a field in.
    pub fn fill(&self, label: &str, value: &str) {
        self.order(json!({ "do": "fill", "label": label, "value": value }));
    }

    /// Chooses from a list.
    pub fn choose(&self, label: &str, value: &str) {
        self.order(json!({ "do": "choose", "label": label, "value": value }));
    }

    /// What can be read.
    pub fn read(&self) -> String {
        self.order(json!({ "do": "read" })).as_str().unwrap().to_owned()
    }

    /// Insists on reading all of this.
    #[track_caller]
    pub fn sees(&self, texts: &[&str]) {
        let page = self.read();
        for text in texts {
            assert!(page.contains(text), "{} does not see {text:?}: {page}", self.who);
        }
    }

    /// Insists on reading none of this.
    #[track_caller]
    pub fn misses(&self, texts: &[&str]) {
        let page = self.read();
        for text in texts {
            assert!(!page.contains(text), "{} sees {text:?}: {page}", self.who);
        }
    }

    /// Path and query of the page.
    pub fn address(&self) -> String {
        self.order(json!({ "do": "address" }))
            .as_str()
            .unwrap()
            .to_owned()
    }

    /// Looks at the same page in another way.
    pub fn resize(&self, view: View) {
        self.order(json!({ "do": "resize", "view": seen_through(view) }));
    }

    /// Takes a picture of the page.
    pub fn picture(&self) {
        self.order(json!({ "do": "picture", "most": MOST_HIGH }));
    }

    /// Puts the pictures that were taken beside each other, into one file.
    pub fn sheet(&self, file: &Path) {
        self.order(json!({ "do": "sheet", "file": file }));
    }

    /// Fills the form in and logs in.
    pub fn log_in(&self, name: &str, password: &str, code: &str) {
        self.visit("/login");
        self.fill("Name", name);
        self.fill("Password", password);
        self.fill("Code", code);
        self.press("Log in");
    }

    /// What was wrong with the pages that were come to.
    pub fn faults(&self) -> Vec<String> {
        serde_json::from_value(self.order(json!({ "do": "faults" }))).unwrap()
    }

    /// Goes, and insists that nothing was wrong with any page.
    #[track_caller]
    pub fn leave(self) {
        let faults = self.faults();
        assert!(faults.is_empty(), "{}: {}", self.who, faults.join("\n"));
    }
}
