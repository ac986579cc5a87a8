//! The terminal: taken for the live view, and given back as it was however the demo ends.

use std::io::{self, Write};
use std::time::Duration;

use crossterm::event::{Event, KeyCode, KeyEventKind, KeyModifiers, poll, read};
use crossterm::style::{Attribute, Color, Print, ResetColor, SetAttribute, SetForegroundColor};
use crossterm::terminal::{
    Clear, ClearType, EnterAlternateScreen, LeaveAlternateScreen, disable_raw_mode, enable_raw_mode,
};
use crossterm::{cursor, execute, queue};

use crate::demo::screen::{Line, Tone};

/// Keys that are read at one look, so that a stuck key cannot hold up the demo.
const KEYS_MAX: usize = 64;

/// The terminal while the live view has it.
#[derive(Debug)]
pub(crate) struct Terminal {
    colours: bool,
}

impl Terminal {
    /// Takes it.
    ///
    /// # Errors
    /// If it cannot be steered.
    pub(crate) fn take() -> io::Result<Self> {
        enable_raw_mode()?;
        // From here on dropping it gives the terminal back, also if the next line fails.
        let terminal = Self { colours: std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty()) };
        execute!(io::stdout(), EnterAlternateScreen, cursor::Hide)?;
        Ok(terminal)
    }

    /// Columns and lines.
    pub(crate) fn size(&self) -> (usize, usize) {
        let (width, height) = crossterm::terminal::size().unwrap_or((80, 24));
        (usize::from(width).max(1), usize::from(height).max(1))
    }

    /// Draws over what was there, line by line, without clearing first: that would flicker.
    pub(crate) fn draw(&self, lines: &[Line]) -> io::Result<()> {
        let mut out = io::stdout().lock();
        for (row, line) in (0u16..).zip(lines) {
            queue!(out, cursor::MoveTo(0, row))?;
            for (tone, text) in &line.0 {
                self.tone(&mut out, *tone)?;
                queue!(out, Print(text), SetAttribute(Attribute::Reset), ResetColor)?;
            }
            queue!(out, Clear(ClearType::UntilNewLine))?;
        }
        out.flush()
    }

    fn tone(&self, out: &mut impl Write, tone: Tone) -> io::Result<()> {
        match tone {
            Tone::Plain => Ok(()),
            Tone::Dim => queue!(out, SetAttribute(Attribute::Dim)),
            Tone::Strong => queue!(out, SetAttribute(Attribute::Bold)),
            Tone::Good if self.colours => queue!(out, SetForegroundColor(Color::Green)),
            Tone::Warn if self.colours => queue!(out, SetForegroundColor(Color::Yellow)),
            Tone::Bad if self.colours => queue!(out, SetAttribute(Attribute::Bold), SetForegroundColor(Color::Red)),
            Tone::Good | Tone::Warn => Ok(()),
            Tone::Bad => queue!(out, SetAttribute(Attribute::Bold)),
        }
    }

    /// Whether somebody has pressed q or Ctrl-C, which in this mode is a key and no signal.
    pub(crate) fn wants_end(&self) -> bool {
        for _key in 0..KEYS_MAX {
            if !poll(Duration::ZERO).unwrap_or(false) {
                return false;
            }
            if let Ok(Event::Key(key)) = read()
                && key.kind == KeyEventKind::Press
            {
                let control = key.modifiers.contains(KeyModifiers::CONTROL);
                if matches!((key.code, control), (KeyCode::Char('q'), false) | (KeyCode::Char('c'), true)) {
                    return true;
                }
            }
        }
        false
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        let _gone = execute!(io::stdout(), LeaveAlternateScreen, cursor::Show);
        let _gone = disable_raw_mode();
    }
}
