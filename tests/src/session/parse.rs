//! The commands of a document and the output that it shows for each of them.

/// A command and the output that the document shows for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    /// The text that a person types at the prompt.
    pub command: String,
    /// The lines that the document shows below it; a line `…` stands for any number of lines.
    pub expected: Vec<String>,
}

/// Returns the steps of all blocks of a Markdown text that are marked as `console`, in order.
pub fn console_blocks(markdown: &str) -> Vec<Step> {
    let mut inside = false;
    let lines = markdown.lines().filter(|line| {
        let fence = line.trim_start().starts_with("```");
        if fence {
            inside = line.trim() == "```console";
        }
        inside && !fence
    });
    prompts(&lines.collect::<Vec<_>>().join("\n"))
}

/// Returns the steps of a text in which `$ ` begins a command and `> ` continues it, as a shell's prompts do.
/// Lines above the first command are passed over.
pub fn prompts(text: &str) -> Vec<Step> {
    let mut steps: Vec<Step> = Vec::new();
    for line in text.lines() {
        if let Some(command) = line.strip_prefix("$ ") {
            steps.push(Step { command: command.to_owned(), expected: Vec::new() });
        } else if let Some(step) = steps.last_mut() {
            match line.strip_prefix("> ") {
                Some(more) if step.expected.is_empty() => {
                    step.command.push('\n');
                    step.command.push_str(more);
                }
                _ if line.trim().is_empty() => {}
                _ => step.expected.push(line.to_owned()),
            }
        }
    }
    steps
}

#[cfg(test)]
mod tests {
    use super::*;

    fn step(command: &str, expected: &[&str]) -> Step {
        let expected = expected.iter().map(ToString::to_string).collect();
        Step { command: command.to_owned(), expected }
    }

    #[test]
    fn only_blocks_that_are_marked_as_a_console_hold_steps() {
        let text = "text\n```console\n$ one\nout\n```\n$ not this\n```rust\n$ nor this\n```\n```console\n$ two\n```\n";
        assert_eq!(console_blocks(text), [step("one", &["out"]), step("two", &[])]);
    }

    #[test]
    fn a_command_goes_on_behind_the_second_prompt() {
        let steps = prompts("above\n$ cat > f <<E\n> hello\n> E\n$ cat f\nhello\n> quoted\n");
        let wanted = [step("cat > f <<E\nhello\nE", &[]), step("cat f", &["hello", "> quoted"])];
        assert_eq!(steps, wanted);
    }
}
