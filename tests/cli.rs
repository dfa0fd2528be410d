//! The command line, as people and scripts use it.

use std::{
    io::{BufRead, BufReader, Write},
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    sync::mpsc,
    time::Duration,
};

use serde_json::{Value, json};

use crate::harness::{ADMIN, Node, PASSWORD};

/// Somebody at a terminal, with a home of their own.
struct Shell {
    home: tempfile::TempDir,
    url: String,
}

/// What a command did.
#[derive(Debug)]
struct Done {
    status: ExitStatus,
    out: String,
    err: String,
}

impl Done {
    #[track_caller]
    fn ok(self) -> String {
        assert!(self.status.success(), "{self:?}");
        self.out
    }

    #[track_caller]
    fn json(self) -> Value {
        serde_json::from_str(&self.ok()).unwrap()
    }

    /// It failed with this code, and said this among other things.
    #[track_caller]
    fn failed(self, code: i32, said: &[&str]) {
        assert_eq!(self.status.code(), Some(code), "{self:?}");
        assert!(said.iter().all(|said| self.err.contains(said)), "{self:?}");
        assert!(!self.err.contains("panicked"), "{self:?}");
    }
}

impl Shell {
    fn new(node: &Node) -> Self {
        Self { home: tempfile::tempdir().unwrap(), url: node.url().to_owned() }
    }

    /// With the admin signed in.
    fn signed_in(node: &Node) -> Self {
        let shell = Self::new(node);
        shell.run_with(&["login", "--email", ADMIN.0], &format!("{}\n", ADMIN.1)).ok();
        shell
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_prognet"));
        command
            .args(arguments)
            .env_remove("PROGNET_TOKEN")
            .env_remove("PROGNET_PASSWORD")
            .env("PROGNET_URL", &self.url)
            .env("XDG_CONFIG_HOME", self.home.path())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        command
    }

    fn run(&self, arguments: &[&str]) -> Done {
        self.run_with(arguments, "")
    }

    /// With this on standard input.
    fn run_with(&self, arguments: &[&str], input: &str) -> Done {
        finish(self.command(arguments).spawn().unwrap(), input)
    }

    fn credentials(&self) -> PathBuf {
        self.home.path().join("prognet/credentials.json")
    }
}

fn finish(mut process: Child, input: &str) -> Done {
    // A command that needs no input may be over before it is given.
    drop(process.stdin.take().unwrap().write_all(input.as_bytes()));
    let output = process.wait_with_output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    Done { status: output.status, out: text(output.stdout), err: text(output.stderr) }
}

fn mode(path: &Path) -> u32 {
    std::fs::metadata(path).unwrap().permissions().mode() & 0o777
}

#[tokio::test]
async fn an_admin_is_made_signs_in_runs_tenants_and_signs_out() {
    let data = tempfile::tempdir().unwrap();
    let node = Node::empty(data.path());
    let shell = Shell::new(&node);
    let link = data.path().join("setup.link");
    let (email, password) = ADMIN;

    let setup = ["setup", "--email", email, "--name", "Ada", "--link-file", link.to_str().unwrap()];
    shell.run_with(&setup, &format!("{password}\n")).ok();
    let login = shell.command(&["login", "--email", email]).env("PROGNET_PASSWORD", password).spawn();
    finish(login.unwrap(), "").ok();
    let me = shell.run(&["whoami", "-o", "json"]).json();
    assert_eq!((&me["email"], &me["is_platform_admin"]), (&json!(email), &json!(true)));

    let created = ["tenants", "create", "--name", "Acme", "--slug", "acme", "-o", "json"];
    let created = shell.run(&created).json();
    let id = created["id"].as_str().unwrap();
    let found = shell.run(&["tenants", "find", "acme", "-o", "json"]).json();
    assert_eq!(found, json!({ "data": [created], "next": null }));
    assert!(shell.run(&["tenants", "find", "acme"]).ok().contains("  Acme\n"));
    assert_eq!(shell.run(&["tenants", "find", "globex"]).ok(), "");
    shell.run(&["tenants", "find", "Acme"]).failed(1, &["(400)", "slug: ", "/problems/request/invalid"]);
    let renamed = ["tenants", "rename", id, "--name", "Acme Inc", "--if-version", "1", "-o", "json"];
    assert_eq!(shell.run(&renamed).json()["name"], "Acme Inc");
    shell.run(&renamed).failed(1, &["The tenant says no (412)", "/problems/tenant/version-mismatch"]);
    let suspended = shell.run(&["tenants", "suspend", id, "--reason", "abuse"]).ok();
    assert!(suspended.contains("suspended") && suspended.contains("abuse"), "{suspended}");
    let resumed = shell.run(&["tenants", "resume", id, "-o", "json"]).json();
    assert_eq!(shell.run(&["tenants", "get", id, "-o", "json"]).json(), resumed);
    let events = shell.run(&["events", "list", "--tenant", id, "-o", "json"]).json();
    assert_eq!(events["data"].as_array().unwrap().len(), 5);

    shell.run(&["logout"]).ok();
    shell.run(&["whoami"]).failed(1, &["(401)", "prognet login"]);
}

#[tokio::test]
async fn a_platform_admin_looks_after_people() {
    let data = tempfile::tempdir().unwrap();
    let node = Node::start(data.path());
    let shell = Shell::signed_in(&node);
    let bob = node.person("bob").await;
    let accounts = |command: &str, of: &str| shell.run(&["accounts", command, of, "-o", "json"]).json();

    let found = accounts("find", "BOB@example.org");
    assert_eq!((&found["data"][0]["id"], &found["data"][0]["name"]), (&json!(bob.account), &json!("bob")));
    assert_eq!(accounts("find", "nobody@example.org")["data"], json!([]));
    assert_eq!(accounts("disable", &bob.account)["status"], "disabled");
    bob.get("/v1/me").await.problem(401, "session/ended");
    assert_eq!(accounts("enable", &bob.account)["status"], "active");
    let bob = node.known("bob@example.org").await;
    let said = shell.run(&["accounts", "end-sessions", &bob.account]).ok();
    assert!(said.contains("are over"), "{said}");
    bob.get("/v1/me").await.problem(401, "session/ended");
    let shown = shell.run(&["accounts", "get", &bob.account]).ok();
    assert!(shown.contains("bob@example.org") && shown.contains("active"), "{shown}");

    let activity = format!("/v1/accounts/{}/activity", bob.account);
    crate::durability::readers_caught_up(&node).await;
    let trail = node.get(&activity).await.ok();
    assert_eq!(accounts("activity", &bob.account), trail);
    let page = shell.run(&["accounts", "activity", &bob.account, "--limit", "1"]).ok();
    assert!(page.contains(trail["data"][0]["action"].as_str().unwrap()), "{page}");
    let (_, next) = page.trim_end().split_once("more: --after ").unwrap();
    let rest = shell.run(&["accounts", "activity", &bob.account, "--after", next]).ok();
    assert!(rest.contains("account.disabled") && rest.contains(&node.tokens().account), "{rest}");

    shell.run(&["accounts", "get", "bob"]).failed(2, &["begins with `acc_`"]);
    let nobodys = format!("acc_{}", "0".repeat(26));
    shell.run(&["accounts", "disable", &nobodys]).failed(1, &["(404)", "/problems/account/unknown"]);
    let own = node.tokens().account.clone();
    shell.run(&["accounts", "disable", &own]).failed(1, &["(409)", "/problems/account/runs-platform"]);
}

#[tokio::test]
async fn a_member_works_in_one_tenant_and_the_next_from_the_command_line() {
    let data = tempfile::tempdir().unwrap();
    let node = Node::start(data.path());
    let (ada, bob) = (node.person("ada1").await, node.person("bob").await);
    let (acme, globex) = (ada.founds("acme").await, bob.founds("globex").await);
    let owner = ada.in_tenant(&acme).await;
    owner.lets_in(&acme, &bob, "member").await;
    owner.until_listed(&format!("/v1/tenants/{acme}/members"), 2).await;
    bob.until_listed("/v1/me/tenants", 2).await;
    let shell = Shell::new(&node);
    let members = |of: &str| shell.run(&["members", "list", of]);
    let place = || shell.run(&["whoami", "-o", "json"]).json()["tenant"].clone();

    let login = ["login", "--email", &bob.email, "--tenant", &acme];
    let said = shell.run_with(&login, &format!("{PASSWORD}\n")).ok();
    assert!(said.contains(&format!("as bob@example.org, for {acme}")), "{said}");
    let listed = members(&acme).ok();
    assert!(listed.contains("ada1@example.org") && listed.contains("bob@example.org"), "{listed}");
    members(&globex).failed(1, &["(404)", "/problems/tenant/unknown"]);

    let said = shell.run(&["switch", &globex]).ok();
    assert!(said.contains(&format!("for {globex} from now on")), "{said}");
    assert!(members(&globex).ok().contains("owner"));
    members(&acme).failed(1, &["(404)", "/problems/tenant/unknown"]);
    // It is the session's that is kept, not the token's.
    let mut kept: Value = serde_json::from_slice(&std::fs::read(shell.credentials()).unwrap()).unwrap();
    kept[node.url()]["access_token"] = json!("spoilt");
    std::fs::write(shell.credentials(), kept.to_string()).unwrap();
    assert_eq!(place(), globex.as_str());

    let tokens = shell.run(&["switch", "-o", "json"]).json();
    assert_eq!((&tokens["account"], tokens.get("tenant")), (&json!(bob.account), None));
    let own = shell.run(&["members", "own"]).ok();
    assert!(own.contains(&acme) && own.contains(&globex), "{own}");
    assert_eq!(place(), Value::Null);
}

#[tokio::test]
async fn a_switch_that_is_refused_says_why_and_a_session_is_stuck_nowhere() {
    let data = tempfile::tempdir().unwrap();
    let node = Node::start(data.path());
    let bob = node.person("bob").await;
    let (acme, foreign) = (bob.founds("acme").await, node.tenant("globex").await);
    let shell = Shell::new(&node);
    shell.run(&["switch", &acme]).failed(1, &["no session", "prognet login"]);
    let token = shell.command(&["switch"]).env("PROGNET_TOKEN", &node.tokens().access_token).spawn();
    finish(token.unwrap(), "").failed(2, &["PROGNET_TOKEN", "unset it"]);
    shell.run(&["switch", "acme"]).failed(2, &["begins with `ten_`"]);
    let login = |tenant: &str| {
        let login = ["login", "--email", &bob.email, "--tenant", tenant];
        shell.run_with(&login, &format!("{PASSWORD}\n"))
    };
    login(&foreign).failed(1, &["(404)", "/problems/tenant/unknown"]);
    assert!(!shell.credentials().exists());

    login(&acme).ok();
    shell.run(&["switch", &foreign]).failed(1, &["(404)", "/problems/tenant/unknown"]);
    assert_eq!(shell.run(&["whoami", "-o", "json"]).json()["tenant"], acme.as_str());
    node.post(&format!("/v1/tenants/{acme}/suspend"), json!({ "reason": "abuse" })).await.ok();
    for refused in [["switch", acme.as_str()], ["whoami", "-ojson"]] {
        shell.run(&refused).failed(1, &["(403)", "/problems/tenant/suspended"]);
    }
    shell.run(&["switch"]).ok();
    shell.run(&["whoami"]).ok();

    node.post(&format!("/v1/tenants/{acme}/resume"), json!({})).await.ok();
    let kept = shell.run(&["switch", &acme, "-o", "json"]).json();
    node.post(&format!("/v1/tenants/{acme}/suspend"), json!({ "reason": "abuse" })).await.ok();
    shell.run(&["logout"]).ok();
    let spent = node.stranger(reqwest::Method::POST, "/v1/sessions/refresh");
    let spent = spent.json(&json!({ "refresh_token": kept["refresh_token"] }));
    crate::harness::reply(spent).await.unwrap().problem(401, "session/ended");
}

#[tokio::test]
async fn json_is_what_the_api_gives_and_all_pages_come_one_a_line() {
    let data = tempfile::tempdir().unwrap();
    let node = Node::start(data.path());
    let shell = Shell::signed_in(&node);
    for slug in ["one", "two", "three"] {
        node.tenant(slug).await;
    }
    let is_whole = |page: &Value| page["data"].as_array().is_some_and(|rows| rows.len() == 3);
    let listed = node.eventually("/v1/tenants", is_whole).await;

    let page = shell.run(&["tenants", "list", "-o", "json"]).json();
    let pages = shell.run(&["tenants", "list", "--all", "--limit", "2", "-o", "json"]).ok();
    let text = shell.run(&["tenants", "list", "--limit", "2"]).ok();

    assert_eq!(page, listed);
    let pages: Vec<Value> = pages.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let rows = pages.iter().flat_map(|page| page["data"].as_array().unwrap());
    assert_eq!((pages.len(), json!(rows.collect::<Vec<_>>())), (2, listed["data"].clone()));
    assert!(text.contains("one") && text.contains("more: --after") && !text.contains("three"), "{text}");
}

#[tokio::test]
async fn the_session_is_for_its_owners_eyes_and_renews_itself() {
    let data = tempfile::tempdir().unwrap();
    let node = Node::start(data.path());
    let shell = Shell::signed_in(&node);
    let kept = || serde_json::from_slice::<Value>(&std::fs::read(shell.credentials()).unwrap()).unwrap();
    assert_eq!((mode(&shell.credentials()), mode(&shell.home.path().join("prognet"))), (0o600, 0o700));
    let mut spoilt = kept();
    let before = spoilt[node.url()]["refresh_token"].clone();
    spoilt[node.url()]["access_token"] = json!("spoilt");
    std::fs::write(shell.credentials(), spoilt.to_string()).unwrap();

    let me = shell.run(&["whoami", "-o", "json"]).json();

    assert_eq!(me["session"], kept()[node.url()]["session"]);
    assert_ne!(kept()[node.url()]["refresh_token"], before);
    assert_eq!(mode(&shell.credentials()), 0o600);
    let token = shell.run(&["token"]).ok();
    assert_eq!(json!(token.trim()), kept()[node.url()]["access_token"]);
}

#[tokio::test]
async fn a_script_brings_a_token_and_is_told_what_is_wrong() {
    let data = tempfile::tempdir().unwrap();
    let node = Node::start(data.path());
    let shell = Shell::new(&node);
    let script = |arguments: &[&str], token: &str| {
        finish(shell.command(arguments).env("PROGNET_TOKEN", token).spawn().unwrap(), "")
    };
    let token = node.tokens().access_token.as_str();

    script(&["whoami"], token).ok();

    script(&["whoami"], "spoilt").failed(1, &["(401)", "/problems/auth/token"]);
    let create = |slug| ["tenants", "create", "--name", "Acme", "--slug", slug];
    script(&create("No Slug"), token).failed(1, &["(400)", "slug: ", "/problems/request/invalid"]);
    script(&["tenants", "get", "acme"], token).failed(2, &["begins with `ten_`"]);
    script(&["tenants", "create"], token).failed(2, &["--slug"]);
    script(&["tenants", "suspend", "ten_1", "--reason", "whim"], token).failed(2, &["nonpayment"]);
    shell.run(&["login"]).failed(2, &["--email"]);
    shell.run_with(&["login", "--email", ADMIN.0], "wrong\n").failed(1, &["The address or the password"]);
    let nowhere = Shell { url: "ftp://here".to_owned(), ..Shell::new(&node) };
    nowhere.run(&["whoami"]).failed(2, &["`ftp://here` is not an http or https URL"]);
    assert!(!shell.credentials().exists());
}

#[tokio::test]
async fn output_that_nobody_reads_any_more_is_no_failure() {
    let data = tempfile::tempdir().unwrap();
    let node = Node::start(data.path());
    let shell = Shell::signed_in(&node);
    let id = node.tenant("acme").await;
    let mut tail = Tail::of(&shell, &["--tenant", &id, "--after", &first_cursor(&node, &id).await]);

    drop(tail.process.stdout.take());
    node.post(&format!("/v1/tenants/{id}/suspend"), json!({ "reason": "abuse" })).await.ok();

    let status = tail.process.wait().unwrap();
    let said = std::io::read_to_string(tail.process.stderr.take().unwrap()).unwrap();
    assert!(status.success() && said.is_empty(), "{status:?} {said}");
}

#[tokio::test]
async fn events_are_followed_over_a_kill_without_missing_or_doubling_one() {
    let data = tempfile::tempdir().unwrap();
    let node = Node::start(data.path());
    let shell = Shell::signed_in(&node);
    let id = node.tenant("acme").await;
    let path = format!("/v1/tenants/{id}");
    let rename = async |node: &Node, name: usize| {
        let name = json!({ "name": format!("name {name}") });
        let request = node.request(reqwest::Method::PATCH, &path).json(&name);
        crate::harness::reply(request).await.unwrap().ok();
    };
    let mut tail = Tail::of(&shell, &["--tenant", &id, "--after", &first_cursor(&node, &id).await]);
    let lines = tail.lines();

    let mut told = Vec::new();
    for name in 0..3 {
        rename(&node, name).await;
    }
    told.extend((0..3).map(|_| line(&lines)));
    rename(&node, 3).await;
    let node = node.kill_and_restart_in_place();
    for name in 4..8 {
        rename(&node, name).await;
    }
    told.extend((3..8).map(|_| line(&lines)));

    let events = node.get(&format!("{path}/events")).await.ok();
    assert_eq!(json!(told), json!(events["data"].as_array().unwrap()[2..]));
}

/// Where what follows the founding begins.
async fn first_cursor(node: &Node, tenant: &str) -> String {
    let events = node.get(&format!("/v1/tenants/{tenant}/events")).await.ok();
    events["data"][1]["cursor"].as_str().unwrap().to_owned()
}

/// `prognet events tail`; killed when dropped.
struct Tail {
    process: Child,
}

impl Tail {
    fn of(shell: &Shell, arguments: &[&str]) -> Self {
        let arguments = [&["events", "tail", "-o", "json"], arguments].concat();
        Self { process: shell.command(&arguments).spawn().unwrap() }
    }

    fn lines(&mut self) -> mpsc::Receiver<String> {
        let (sender, lines) = mpsc::channel();
        let out = BufReader::new(self.process.stdout.take().unwrap());
        std::thread::spawn(move || out.lines().map_while(Result::ok).try_for_each(|line| sender.send(line)));
        lines
    }
}

impl Drop for Tail {
    fn drop(&mut self) {
        drop(self.process.kill());
        drop(self.process.wait());
    }
}

/// The next line, as JSON.
#[track_caller]
fn line(lines: &mpsc::Receiver<String>) -> Value {
    serde_json::from_str(&lines.recv_timeout(Duration::from_secs(60)).expect("no line came")).unwrap()
}
