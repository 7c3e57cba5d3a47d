//! The portal through its real program: who gets in, who may what, and that the API does what the commands do.
#![allow(clippy::unwrap_used, clippy::panic, reason = "helpers of tests")]

mod api;
mod destinations;
mod fuzz;
mod grants;
mod login;
pub mod matrix;
mod openapi;
mod operations;
mod pages;
mod parity;
mod review;
mod start;

use serde_json::{Value, json};
pub use tests::browser as client;
use tests::world::{World, WorldOptions};

use self::client::Browser;
use crate::cast::{self, Payer};

/// What everybody in these stories types.
pub const PASSWORD: &str = "correct horse battery staple";

/// Users of a firm: external id, role, client, whether they may see what is billed.
fn users(firm: &str, client: &str) -> Value {
    let user = |role: &str| json!({"external_id": format!("{role}-{firm}"), "firm": firm, "name": format!("{role} of {firm}"), "role": role});
    let mut ceo = user("client");
    ceo["client"] = json!(client);
    ceo["can_view_billing"] = json!(true);
    let mut clerk = ceo.clone();
    clerk["external_id"] = json!(format!("clerk-{firm}"));
    clerk["can_view_billing"] = json!(false);
    json!([
        user("owner"),
        user("admin"),
        user("manager"),
        user("staff"),
        ceo,
        clerk
    ])
}

/// Two firms, each with people and a client whose invoice is paid, and a portal.
pub async fn two_firms() -> World {
    let world = World::start(WorldOptions {
        portal: true,
        // All come from one address here.
        env: vec![("PORTAL_RATE_PER_MIN".into(), "1000000".into())],
        ..WorldOptions::default()
    })
    .await;
    let payers = [
        Payer::of("acme", "zebra"),
        Payer::of("acme", "yak"),
        Payer::of("other", "wolf"),
    ];
    cast::enter(&world, &payers, &[]).await;
    for (firm, client) in [("acme", "zebra"), ("other", "wolf")] {
        world.import(&json!({ "users": users(firm, client) })).await;
    }
    world.settle().await;
    world
}

/// Lets a user log in under the name of the user.
pub async fn give_password(world: &World, user: &str) {
    let args = ["user", "password", user, "--login", user, "--stdin"];
    let done = world.command().run_with_input(&args, PASSWORD).await.unwrap();
    done.success().unwrap();
}

/// A browser in which this user is logged in.
pub async fn logged_in(world: &World, user: &str) -> Browser {
    give_password(world, user).await;
    let mut browser = Browser::at(world);
    assert_eq!(browser.log_in(user, PASSWORD, "").await, 303, "{user}");
    browser
}

/// Makes an operator; the secret of their second factor.
pub async fn enrol(world: &World, name: &str) -> String {
    let args = ["user", "operator", name, "--stdin", "--json"];
    let made = world.command().run_with_input(&args, PASSWORD).await.unwrap();
    let made = made.success().unwrap().json().unwrap();
    made["totp_secret"].as_str().unwrap().to_owned()
}

/// An operator with a second factor: the browser in which they are logged in.
pub async fn operator(world: &World, name: &str) -> Browser {
    let code = client::totp(&enrol(world, name).await);
    let mut browser = Browser::at(world);
    assert_eq!(browser.log_in(name, PASSWORD, &code).await, 303, "{name}");
    browser
}

/// A token made by command.
pub async fn token(world: &World, firm: Option<&str>, role: &str) -> Browser {
    let mut args = vec![
        "user",
        "token",
        "create",
        "--role",
        role,
        "--name",
        "story",
        "--expires-in",
        "1d",
    ];
    if let Some(firm) = firm {
        args.extend(["--firm-id", firm]);
    }
    let made = world.json(&args).await;
    Browser::with_token(world, made["token"].as_str().unwrap())
}
