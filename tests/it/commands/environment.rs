//! What a command says when its environment is not what it needs.

use tests::world::free_port;

use super::bare;

#[tokio::test]
async fn database_that_is_not_named_malformed_or_away_is_said_in_one_line() {
    let world = bare().await;
    let away = format!("postgres://nobody@127.0.0.1:{}/quittance", free_port().unwrap());
    for (url, wanted) in [
        (None, "DATABASE_URL is not set"),
        (Some("mysql://host/db"), "DATABASE_URL is malformed"),
        (
            Some(away.as_str()),
            "the database of DATABASE_URL cannot be reached",
        ),
    ] {
        let ended = world
            .command()
            .with_env("DATABASE_URL", url)
            .run(&["invoice", "list"])
            .await
            .unwrap();
        assert_eq!(ended.code, 1, "{ended}");
        assert!(ended.stderr.contains(wanted), "{ended}");
        assert_eq!(
            ended
                .stderr
                .lines()
                .filter(|line| line.starts_with("error: "))
                .count(),
            1,
            "{ended}"
        );
    }
}

#[tokio::test]
async fn clock_of_a_live_installation_stands() {
    let world = bare().await;
    let live = world
        .command()
        .with_env("STRIPE_SECRET_KEY", Some("sk_live_1"))
        .with_env("STRIPE_MODE", None);
    for args in [["clock", "advance", "3d"], ["clock", "set", "2040-01-01"]] {
        let refused = live.run(&args).await.unwrap();
        assert_eq!(refused.code, 4, "{refused}");
    }
    sqlx::query("update installation set livemode = true")
        .execute(&world.db)
        .await
        .unwrap();
    // The database says so too, whatever the key.
    let refused = world.cli(&["clock", "reset", "--json"]).await;
    assert_eq!(refused.code, 4, "{refused}");
    assert_eq!(refused.json().unwrap()["error"]["code"], "live_mode");
    assert_eq!(world.count("select offset_ms from clock").await, 0);
}
