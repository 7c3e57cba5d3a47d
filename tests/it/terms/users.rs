//! Users of a firm, as an import brings them in, and what their role allows.

use serde_json::json;

use super::{audit, bare, firm};

#[tokio::test]
async fn r004_users_come_in_by_import_and_change_by_import_only_once() {
    let world = bare().await;
    let first = world.import(&firm()).await;
    assert_eq!(first["users"]["created"], 5, "{first}");
    let again = world.import(&firm()).await;
    assert_eq!(
        again["users"],
        json!({"created": 0, "updated": 0, "unchanged": 5})
    );
    let mut document = json!({ "users": [firm()["users"][3].clone()] });
    document["users"][0]["role"] = json!("admin");
    let changed = world.import(&document).await;
    assert_eq!(
        changed["users"],
        json!({"created": 0, "updated": 1, "unchanged": 0})
    );
    let roles = world
        .texts("select external_id || ' ' || role || coalesce(' of ' || (select c.external_id from clients c where c.id = client_id), '') from users order by 1")
        .await;
    assert_eq!(
        roles,
        [
            "ada admin",
            "ceo client of globex",
            "max manager",
            "olga owner",
            "sam admin"
        ]
    );
    let noted = audit(&world, "user", "role").await;
    assert_eq!(noted.len(), 6, "{noted:?}");
    assert!(
        noted[5].starts_with("config.changed operator") && noted[5].ends_with(" admin"),
        "{noted:?}"
    );
}

#[tokio::test]
async fn a_user_that_does_not_fit_is_a_fault_with_its_path() {
    let world = bare().await;
    let mut document = firm();
    document["users"][0]["role"] = json!("boss");
    document["users"][1]["firm"] = json!("nobody");
    document["users"][2]["client"] = json!("globex");
    document["users"][4]["client"] = json!("nothing");
    let refused = world
        .command()
        .run_with_input(&["import", "-", "--json"], &document.to_string())
        .await
        .unwrap();
    assert_eq!(refused.code, 1, "{refused}");
    let answer = refused.json().unwrap();
    let mut paths: Vec<&str> = answer["error"]["details"]
        .as_array()
        .unwrap()
        .iter()
        .map(|detail| detail["path"].as_str().unwrap())
        .collect();
    paths.sort_unstable();
    assert_eq!(
        paths,
        [
            "$.users[0].role",
            "$.users[1].firm",
            "$.users[2].client",
            "$.users[4].client"
        ]
    );
    assert_eq!(world.count("select count(*) from users").await, 0);
}
