//! Shells and `man` know all commands, and take the files that are made for them.

use std::path::Path;
use std::process::{Command, Output};

use super::BINARY;

fn quorate(arguments: &[&str]) -> Output {
    let output = Command::new(BINARY).args(arguments).output().expect("it runs");
    assert!(output.status.success(), "{arguments:?}: {output:?}");
    output
}

fn script(shell: &str) -> String {
    String::from_utf8(quorate(&["completions", shell]).stdout).expect("text")
}

/// Runs a shell with this as its input; nothing if there is no such shell here.
fn run(shell: &str, arguments: &[&str], input: &str) -> Option<String> {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("input");
    std::fs::write(&file, input).expect("a file");
    let Ok(output) = Command::new(shell).args(arguments).arg(&file).output() else {
        eprintln!("NOT TESTED: there is no {shell} on this machine");
        return None;
    };
    assert!(output.status.success(), "{shell} {arguments:?}: {output:?}");
    assert!(output.stderr.is_empty(), "{shell} {arguments:?}: {output:?}");
    Some(String::from_utf8(output.stdout).expect("text"))
}

#[test]
fn completions_name_every_command_and_the_options() {
    let help = String::from_utf8(quorate(&["--help"]).stdout).expect("text");
    let commands: Vec<&str> = help
        .lines()
        .skip_while(|line| !line.starts_with("Commands:"))
        .skip(1)
        .take_while(|line| !line.is_empty())
        // The words on a command may go on in the next line.
        .filter_map(|line| line.strip_prefix("  ").filter(|line| !line.starts_with(' ')))
        .filter_map(|line| line.split(' ').next())
        .collect();
    assert!(commands.contains(&"append") && commands.len() > 10, "{commands:?}");
    for (shell, [tail, endpoints, watch]) in [
        ("bash", ["--tail", "--endpoints", "--watch"]),
        ("zsh", ["--tail", "--endpoints", "--watch"]),
        ("fish", ["-l tail", "-l endpoints", "-l watch"]),
    ] {
        let script = script(shell);
        for word in commands.iter().chain(&[tail, endpoints, watch, "tombstone", "completions"]) {
            assert!(script.contains(word), "the script of {shell} does not name {word}");
        }
    }
    let unknown = Command::new(BINARY).args(["completions", "cmd.exe"]).output().expect("it runs");
    assert_eq!(unknown.status.code(), Some(2));
}

#[test]
fn shells_take_their_scripts_and_complete_by_them() {
    for shell in ["bash", "zsh", "fish"] {
        run(shell, &["-n"], &script(shell));
    }
    // As the line editor of bash asks, with the cursor behind the last word.
    let ask = |words: &str| {
        format!(
            "{}\nCOMP_WORDS=({words}); COMP_CWORD=$((${{#COMP_WORDS[@]}} - 1))\n\
             _quorate quorate \"${{COMP_WORDS[$COMP_CWORD]}}\" \"${{COMP_WORDS[$COMP_CWORD - 1]}}\"\n\
             printf '%s\\n' \"${{COMPREPLY[@]}}\"\n",
            script("bash")
        )
    };
    for (words, completed) in [
        ("quorate gr", vec!["group"]),
        ("quorate group cons", vec!["consume"]),
        ("quorate process re", vec!["replay"]),
        ("quorate stream to", vec!["tombstone"]),
        ("quorate read --ta", vec!["--tag", "--tail"]),
        ("quorate read --output j", vec!["json"]),
        ("quorate completions fi", vec!["fish"]),
    ] {
        if let Some(output) = run("bash", &["--norc"], &ask(words)) {
            let mut words_found: Vec<&str> = output.lines().collect();
            words_found.sort_unstable();
            assert_eq!(words_found, completed, "{words}");
        }
    }
}

#[test]
fn manual_pages_are_made_as_the_guide_to_deploying_says_and_man_can_show_them() {
    let guide = Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy/README.md");
    let guide = std::fs::read_to_string(guide).expect("the guide");
    let typed: Vec<&str> = guide.lines().filter(|line| line.starts_with("quorate ")).collect();
    assert_eq!(typed.len(), 4, "three shells and the manual: {typed:?}");
    let folder = tempfile::tempdir().expect("a folder");
    for line in typed {
        let words: Vec<&str> = line.split(' ').collect();
        match words[1] {
            "completions" => assert!(script(words[2]).contains("quorate"), "{line}"),
            "manual" => drop(quorate(&["manual", folder.path().to_str().expect("a name")])),
            _ => panic!("{line}"),
        }
    }
    let page = folder.path().join("quorate-append.1");
    let page = page.to_str().expect("a name");
    match Command::new("man").args(["-l", page]).env("MANWIDTH", "80").env("LC_ALL", "C").output() {
        Ok(shown) => {
            let text = String::from_utf8_lossy(&shown.stdout).into_owned();
            assert!(shown.status.success(), "{shown:?}");
            for part in ["Append an event to a stream", "unless", "EXAMPLE", "$ quorate append"] {
                assert!(text.contains(part), "{part}: {text}");
            }
        }
        Err(_) => eprintln!("NOT TESTED: there is no man on this machine"),
    }
}
