//! The blocks that every page is built of, each with one template, so that all pages look and read alike: a label is always there, a
//! table always has headers and a caption, and where there is nothing it says what is missing and what to do.

use super::chart::{Bars, Columns};

/// What something means, said by a word and underlined by a colour.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Tone {
    /// As it should be.
    Good,
    /// To be looked at.
    Warn,
    /// To be acted on.
    Bad,
    /// Under way.
    Busy,
    /// Neither.
    #[default]
    Plain,
}

impl Tone {
    /// The class in the style sheet.
    #[must_use]
    pub const fn class(&self) -> &'static str {
        match self {
            Tone::Good => "good",
            Tone::Warn => "warn",
            Tone::Bad => "bad",
            Tone::Busy => "busy",
            Tone::Plain => "plain",
        }
    }
}

/// A word in a coloured frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Badge {
    /// The word.
    pub text: String,
    /// What it means.
    pub tone: Tone,
}

impl Badge {
    /// A badge.
    pub fn new(text: impl Into<String>, tone: Tone) -> Self {
        Self {
            text: text.into(),
            tone,
        }
    }
}

/// What stands in a cell.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Cell {
    /// Words.
    Text(String),
    /// Words, and smaller ones under them.
    Two(String, String),
    /// An id or code.
    Code(String),
    /// A link.
    Link {
        /// Where to.
        href: String,
        /// What it says.
        text: String,
        /// Smaller words under it.
        under: String,
    },
    /// A link to another site, such as Stripe's own page of an invoice.
    Out {
        /// Where to.
        href: String,
        /// What it says.
        text: String,
    },
    /// A word in a frame.
    Badge(Badge),
    /// Words that open to more.
    Fold {
        /// What is always seen.
        summary: String,
        /// What a reader hears after it, to tell it from others.
        about: String,
        /// What opens.
        text: String,
        /// Where to read on: address and words.
        link: Option<(String, String)>,
    },
    /// Buttons, each a form of its own.
    Forms(Vec<Form>),
}

impl Cell {
    /// Words.
    pub fn text(text: impl Into<String>) -> Self {
        Self::Text(text.into())
    }

    /// Words, and smaller ones under them.
    pub fn two(text: impl Into<String>, under: impl Into<String>) -> Self {
        Self::Two(text.into(), under.into())
    }

    /// An id or code.
    pub fn code(text: impl Into<String>) -> Self {
        Self::Code(text.into())
    }

    /// A link.
    pub fn link(href: impl Into<String>, text: impl Into<String>) -> Self {
        Self::Link {
            href: href.into(),
            text: text.into(),
            under: String::new(),
        }
    }

    /// A link with smaller words under it.
    pub fn link_two(href: impl Into<String>, text: impl Into<String>, under: impl Into<String>) -> Self {
        Self::Link {
            href: href.into(),
            text: text.into(),
            under: under.into(),
        }
    }
}

impl From<Badge> for Cell {
    fn from(badge: Badge) -> Self {
        Self::Badge(badge)
    }
}

/// A column: its header, and whether it holds numbers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Column {
    /// The header.
    pub title: String,
    /// Numbers stand to the right.
    pub number: bool,
}

/// Columns of words.
pub fn words(title: impl Into<String>) -> Column {
    Column {
        title: title.into(),
        number: false,
    }
}

/// Columns of numbers.
pub fn numbers(title: impl Into<String>) -> Column {
    Column {
        title: title.into(),
        number: true,
    }
}

/// What is said where there are no rows.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Empty {
    /// What is missing.
    pub what: String,
    /// What to do, or why that is fine.
    pub then: String,
    /// Where that is done: address and words.
    pub link: Option<(String, String)>,
}

impl Empty {
    /// What is missing, and what to do.
    pub fn new(what: impl Into<String>, then: impl Into<String>) -> Self {
        Self {
            what: what.into(),
            then: then.into(),
            link: None,
        }
    }

    /// With a link to where it is done.
    #[must_use]
    pub fn link(mut self, href: impl Into<String>, text: impl Into<String>) -> Self {
        self.link = Some((href.into(), text.into()));
        self
    }
}

/// A cell with the header of its column, which a phone shows beside it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Td {
    /// The header.
    pub column: Column,
    /// What stands in it.
    pub cell: Cell,
}

/// Rows under headers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Table {
    /// The heading over it, which is its caption.
    pub title: String,
    /// The headers.
    pub columns: Vec<Column>,
    /// The rows.
    pub rows: Vec<Vec<Td>>,
    /// What is said where there are none.
    pub empty: Empty,
    /// Where there are more.
    pub more: Option<(String, String)>,
}

impl Table {
    /// A table without rows.
    pub fn new(title: impl Into<String>, columns: &[Column], empty: Empty) -> Self {
        Self {
            title: title.into(),
            columns: columns.to_vec(),
            rows: Vec::new(),
            empty,
            more: None,
        }
    }

    /// With a link to where there are more.
    #[must_use]
    pub fn more(mut self, href: impl Into<String>, text: impl Into<String>) -> Self {
        self.more = Some((href.into(), text.into()));
        self
    }

    /// With rows, one for each thing.
    #[must_use]
    pub fn rows<T>(mut self, things: impl IntoIterator<Item = T>, cells: impl Fn(T) -> Vec<Cell>) -> Self {
        for thing in things {
            let row = self.columns.iter().cloned().zip(cells(thing));
            self.rows
                .push(row.map(|(column, cell)| Td { column, cell }).collect());
        }
        self
    }
}

/// A figure with its name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Card {
    /// What it is.
    pub label: String,
    /// How much.
    pub value: String,
    /// What to know about it.
    pub note: String,
    /// What it means.
    pub tone: Tone,
    /// Where there is more of it.
    pub href: Option<String>,
    /// How full: percent, at most 100.
    pub percent: Option<i64>,
}

impl Card {
    /// A figure.
    pub fn new(label: impl Into<String>, value: impl Into<String>, note: impl Into<String>) -> Self {
        Self {
            label: label.into(),
            value: value.into(),
            note: note.into(),
            ..Self::default()
        }
    }

    /// What it means.
    #[must_use]
    pub fn tone(mut self, tone: Tone) -> Self {
        self.tone = tone;
        self
    }

    /// Where there is more of it.
    #[must_use]
    pub fn href(mut self, href: impl Into<String>) -> Self {
        self.href = Some(href.into());
        self
    }

    /// How full.
    #[must_use]
    pub fn percent(mut self, percent: Option<i64>) -> Self {
        self.percent = percent.map(|percent| percent.clamp(0, 100));
        self
    }
}

/// What is known of one thing, term by term.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Facts {
    /// The heading.
    pub title: String,
    /// Terms and what is known.
    pub rows: Vec<(&'static str, Cell)>,
}

/// A choice of a list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Option_ {
    /// What is sent.
    pub value: String,
    /// What is read.
    pub text: String,
    /// It is chosen.
    pub chosen: bool,
}

/// How something is typed in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Input {
    /// A line; its type in HTML.
    Line(&'static str),
    /// One of these.
    Choice(Vec<Option_>),
    /// Sent along.
    Hidden,
    /// Yes or no.
    Check(bool),
}

/// A field of a form.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Field {
    /// Its name in the request.
    pub name: &'static str,
    /// Its label.
    pub label: String,
    /// What stands in it.
    pub value: String,
    /// What to know before it is filled in.
    pub hint: String,
    /// How it is typed in.
    pub input: Input,
    /// It has to be filled in.
    pub required: bool,
}

impl Field {
    fn of(name: &'static str, label: impl Into<String>, input: Input) -> Self {
        Self {
            name,
            label: label.into(),
            value: String::new(),
            hint: String::new(),
            input,
            required: false,
        }
    }

    /// A line of text.
    pub fn line(name: &'static str, label: impl Into<String>) -> Self {
        Self::of(name, label, Input::Line("text"))
    }

    /// A line of another type.
    pub fn typed(name: &'static str, label: impl Into<String>, kind: &'static str) -> Self {
        Self::of(name, label, Input::Line(kind))
    }

    /// Sent along.
    pub fn hidden(name: &'static str, value: impl Into<String>) -> Self {
        Self::of(name, "", Input::Hidden).value(value)
    }

    /// Why: required, and recorded.
    #[must_use]
    pub fn reason() -> Self {
        Self::line("reason", "Reason")
            .hint("Kept in the audit log.")
            .required()
    }

    /// Yes or no.
    pub fn check(name: &'static str, label: impl Into<String>, on: bool) -> Self {
        Self::of(name, label, Input::Check(on)).value("true")
    }

    /// One of these: what is sent, and what is read.
    pub fn choice(
        name: &'static str,
        label: impl Into<String>,
        options: &[(&str, &str)],
        chosen: Option<&str>,
    ) -> Self {
        let options = options
            .iter()
            .map(|(value, text)| Option_ {
                value: (*value).to_owned(),
                text: (*text).to_owned(),
                chosen: chosen.unwrap_or_default() == *value,
            })
            .collect();
        Self::of(name, label, Input::Choice(options))
    }

    /// With something in it.
    #[must_use]
    pub fn value(mut self, value: impl Into<String>) -> Self {
        self.value = value.into();
        self
    }

    /// With something to know.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = hint.into();
        self
    }

    /// To be filled in.
    #[must_use]
    pub fn required(mut self) -> Self {
        self.required = true;
        self
    }
}

/// A form that changes something. The token that it carries is added where it is rendered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Form {
    /// Names its fields apart from those of other forms of the page.
    pub id: String,
    /// The heading; none on a button in a table.
    pub title: String,
    /// What it does, and what follows.
    pub intro: String,
    /// Where it is sent.
    pub action: String,
    /// The fields.
    pub fields: Vec<Field>,
    /// What the button says.
    pub submit: String,
    /// What a reader hears of the button in a table, where its words alone do not say which row it is for.
    pub about: String,
    /// It cannot be taken back.
    pub danger: bool,
    /// Shown when somebody opens it.
    pub folded: bool,
}

impl Form {
    /// A form with a heading.
    pub fn new(
        id: impl Into<String>,
        title: impl Into<String>,
        action: impl Into<String>,
        submit: impl Into<String>,
    ) -> Self {
        Self {
            id: id.into(),
            title: title.into(),
            intro: String::new(),
            action: action.into(),
            fields: Vec::new(),
            submit: submit.into(),
            about: String::new(),
            danger: false,
            folded: false,
        }
    }

    /// A button in a table.
    pub fn button(
        id: impl Into<String>,
        action: impl Into<String>,
        submit: impl Into<String>,
        about: impl Into<String>,
    ) -> Self {
        Self {
            about: about.into(),
            ..Self::new(id, "", action, submit)
        }
    }

    /// What it does.
    #[must_use]
    pub fn intro(mut self, intro: impl Into<String>) -> Self {
        self.intro = intro.into();
        self
    }

    /// With a field.
    #[must_use]
    pub fn field(mut self, field: Field) -> Self {
        self.fields.push(field);
        self
    }

    /// It cannot be taken back.
    #[must_use]
    pub fn danger(mut self) -> Self {
        self.danger = true;
        self
    }

    /// Shown when somebody opens it.
    #[must_use]
    pub fn folded(mut self) -> Self {
        self.folded = true;
        self
    }
}

/// A form that chooses what is shown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Filter {
    /// Where it leads.
    pub action: String,
    /// The fields.
    pub fields: Vec<Field>,
}

/// Where in a list.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Pager {
    /// In words.
    pub text: String,
    /// The page before.
    pub before: Option<String>,
    /// The page after.
    pub after: Option<String>,
}

/// A sentence that matters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Note {
    /// What it means.
    pub tone: Tone,
    /// What it says.
    pub text: String,
    /// Where to go: address and words.
    pub link: Option<(String, String)>,
}

/// One thing that happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    /// When.
    pub at: String,
    /// What.
    pub what: String,
    /// What to know about it.
    pub note: String,
    /// What it means.
    pub tone: Tone,
}

/// A block of a page.
#[derive(Clone, Debug)]
pub enum Block {
    /// Figures side by side.
    Cards(Vec<Card>),
    /// Rows.
    Table(Table),
    /// What is known of one thing.
    Facts(Facts),
    /// What happened, in order.
    Timeline(String, Vec<Step>),
    /// A form.
    Form(Form),
    /// Forms under one heading, each shown when somebody opens it.
    Actions(String, Vec<Form>),
    /// Forms under one heading, with a sentence: what cannot be taken back stands apart.
    Danger(String, String, Vec<Form>),
    /// What is shown.
    Filter(Filter),
    /// Where in a list.
    Pager(Pager),
    /// A sentence.
    Note(Note),
    /// Words and what they mean.
    Legend(String, Vec<(Badge, String)>),
    /// Questions and answers.
    Questions(String, Vec<(&'static str, &'static str)>),
    /// Columns over time, with their table.
    Columns(Columns),
    /// Bars, each a row of a table.
    Bars(Bars),
    /// Text as it is, such as JSON.
    Text(String, String),
    /// Links to related pages: address, words, whether that is here.
    Tabs(String, Vec<(String, String, bool)>),
}

/// A sentence that matters.
pub fn note(tone: Tone, text: impl Into<String>) -> Block {
    Block::Note(Note {
        tone,
        text: text.into(),
        link: None,
    })
}
