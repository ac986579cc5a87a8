//! What differs between two texts, line by line: by their longest common subsequence.

/// Unchanged lines around a change.
const AROUND: usize = 3;
/// Lines from the first difference to the last, of one text times the other's; beyond, all of them are shown as replaced.
const CELLS_MAX: usize = 4_000_000;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Edit {
    Keep,
    Remove,
    Add,
}

/// The unified form, as `diff -u` writes it; empty if nothing differs.
pub(super) fn unified(old_name: &str, old: &str, new_name: &str, new: &str) -> String {
    let (old, new): (Vec<&str>, Vec<&str>) = (old.lines().collect(), new.lines().collect());
    let edits = edits(&old, &new);
    if edits.iter().all(|edit| *edit == Edit::Keep) {
        return String::new();
    }
    let mut text = format!("--- {old_name}\n+++ {new_name}\n");
    for hunk in hunks(&edits) {
        render(&mut text, &edits, hunk, &old, &new);
    }
    text
}

fn render(text: &mut String, edits: &[Edit], hunk: std::ops::Range<usize>, old: &[&str], new: &[&str]) {
    let count = |edits: &[Edit], other: Edit| edits.iter().filter(|edit| **edit != other).count();
    let (before, inside) = (edits.get(..hunk.start).unwrap_or_default(), edits.get(hunk).unwrap_or_default());
    let (mut at_old, mut at_new) = (count(before, Edit::Add), count(before, Edit::Remove));
    let (old_lines, new_lines) = (count(inside, Edit::Add), count(inside, Edit::Remove));
    // A side without lines is named by the line before it.
    let first = |at: usize, lines: usize| if lines == 0 { at } else { at + 1 };
    let (old_first, new_first) = (first(at_old, old_lines), first(at_new, new_lines));
    text.push_str(&format!("@@ -{old_first},{old_lines} +{new_first},{new_lines} @@\n"));
    for edit in inside {
        let (mark, line) = match edit {
            Edit::Keep => (' ', old.get(at_old)),
            Edit::Remove => ('-', old.get(at_old)),
            Edit::Add => ('+', new.get(at_new)),
        };
        at_old += usize::from(*edit != Edit::Add);
        at_new += usize::from(*edit != Edit::Remove);
        text.push(mark);
        text.push_str(line.copied().unwrap_or_default());
        text.push('\n');
    }
}

/// Where changes are, with some lines around them.
fn hunks(edits: &[Edit]) -> Vec<std::ops::Range<usize>> {
    let mut hunks: Vec<std::ops::Range<usize>> = Vec::new();
    for (at, _change) in edits.iter().enumerate().filter(|(_at, edit)| **edit != Edit::Keep) {
        let (from, to) = (at.saturating_sub(AROUND), (at + 1 + AROUND).min(edits.len()));
        match hunks.last_mut() {
            Some(last) if last.end >= from => last.end = to,
            Some(_) | None => hunks.push(from..to),
        }
    }
    hunks
}

fn edits(old: &[&str], new: &[&str]) -> Vec<Edit> {
    let same = |pair: &(&&str, &&str)| pair.0 == pair.1;
    let head = old.iter().zip(new).take_while(same).count();
    let (old_rest, new_rest) = (old.get(head..).unwrap_or_default(), new.get(head..).unwrap_or_default());
    let tail = old_rest.iter().rev().zip(new_rest.iter().rev()).take_while(same).count();
    let old_middle = old_rest.get(..old_rest.len() - tail).unwrap_or_default();
    let new_middle = new_rest.get(..new_rest.len() - tail).unwrap_or_default();
    let replaced = || {
        let removed = std::iter::repeat_n(Edit::Remove, old_middle.len());
        removed.chain(std::iter::repeat_n(Edit::Add, new_middle.len())).collect()
    };
    let mut edits = vec![Edit::Keep; head];
    edits.extend(shortest(old_middle, new_middle).unwrap_or_else(replaced));
    edits.extend(std::iter::repeat_n(Edit::Keep, tail));
    edits
}

/// The fewest edits; `None` if finding them takes too much.
fn shortest(old: &[&str], new: &[&str]) -> Option<Vec<Edit>> {
    let width = new.len() + 1;
    let cells = (old.len() + 1).checked_mul(width).filter(|cells| *cells <= CELLS_MAX)?;
    // How many lines the rests of both have in common, from each pair of places on.
    let mut common = vec![0u32; cells];
    for (x, line) in old.iter().enumerate().rev() {
        for (y, other) in new.iter().enumerate().rev() {
            let at = x * width + y;
            common[at] =
                if line == other { common[at + width + 1] + 1 } else { common[at + width].max(common[at + 1]) };
        }
    }
    let mut edits = Vec::with_capacity(old.len() + new.len());
    let (mut x, mut y) = (0, 0);
    while x < old.len() || y < new.len() {
        let at = x * width + y;
        let edit = if x < old.len() && y < new.len() && old[x] == new[y] {
            Edit::Keep
        } else if y == new.len() || (x < old.len() && common[at + width] >= common[at + 1]) {
            Edit::Remove
        } else {
            Edit::Add
        };
        x += usize::from(edit != Edit::Add);
        y += usize::from(edit != Edit::Remove);
        edits.push(edit);
    }
    Some(edits)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn differences_are_shown_as_diff_does() {
        let old = "a\nb\nc\nd\ne\nf\ng\nh\ni\nj\nk\nl\n";
        let new = "a\nb\nC\nd\ne\nf\ng\nh\ni\nj\nk\nl\nm\n";
        let expected = "--- 1\n+++ 2\n@@ -1,6 +1,6 @@\n a\n b\n-c\n+C\n d\n e\n f\n@@ -10,3 +10,4 @@\n j\n k\n l\n+m\n";
        assert_eq!(unified("1", old, "2", new), expected);
        assert_eq!(unified("1", old, "2", old), "");
        assert_eq!(unified("1", "", "2", "x\n"), "--- 1\n+++ 2\n@@ -0,0 +1,1 @@\n+x\n");
        assert_eq!(unified("1", "x\n", "2", ""), "--- 1\n+++ 2\n@@ -1,1 +0,0 @@\n-x\n");
        assert_eq!(unified("1", "a\nx\ny\nb", "2", "a\ny\nz\nb").lines().skip(3).collect::<String>(), " a-x y+z b");
    }

    #[test]
    fn texts_that_have_little_in_common_are_shown_whole() {
        let lines = |mark: char| (0..3000).map(|number| format!("{mark}{number}\n")).collect::<String>();
        let text = unified("1", &lines('a'), "2", &lines('b'));
        assert_eq!(text.lines().count(), 3 + 6000);
    }
}
