//! Incremental decoding: text leaves as soon as it is whole UTF-8 characters, and all parts together equal one decode of all tokens.
//!
//! The method is that of `tokenizers::DecodeStream`: decode a short window twice, once without and once with the new token, and hand out the
//! difference. The window starts at the last place where the text was complete, so the cost per token does not grow with the text. What is
//! added here: a bound on that window when a model emits only broken bytes, a flush of the tail, and going on where a decoder takes back what
//! it gave (byte-fallback vocabularies replace a whole run of byte tokens once one of them is broken; the text already handed out stands).

use std::sync::Arc;

use crate::tokenizer::TextTokenizer;

type Fallible<T> = Result<T, Box<dyn std::error::Error + Send + Sync>>;

const REPLACEMENT: char = '\u{FFFD}';
/// With more tokens than this held back, the window is cut at a place that later bytes cannot change.
const MAX_HELD_TOKENS: usize = 32;
/// A UTF-8 character has at most four bytes, and each token kept in the window stands for at least one.
const MAX_TAIL_TOKENS: usize = 12;
const MIN_TAIL_TOKENS: usize = 4;

pub struct TextStream {
    tokenizer: Arc<TextTokenizer>,
    skip_special_tokens: bool,
    window: Vec<u32>,
    /// The text of the first `prefix_tokens` of the window: already handed out.
    prefix: String,
    prefix_tokens: usize,
}

impl TextStream {
    pub fn new(tokenizer: Arc<TextTokenizer>, skip_special_tokens: bool) -> Self {
        TextStream { tokenizer, skip_special_tokens, window: Vec::new(), prefix: String::new(), prefix_tokens: 0 }
    }

    pub fn step(&mut self, id: u32) -> Fallible<String> {
        // Tokens that decode to nothing never enter the window, so that it is bounded by the bytes it stands for.
        match self.tokenizer.id_to_token(id) {
            None => return Ok(String::new()),
            Some(token) if self.skip_special_tokens && self.tokenizer.is_special(&token) => return Ok(String::new()),
            Some(_) => self.window.push(id),
        }
        let text = self.window_text()?;
        if text.ends_with(REPLACEMENT) || text.len() <= self.prefix.len() {
            return if self.window.len() - self.prefix_tokens > MAX_HELD_TOKENS { self.cut(&text) } else { Ok(String::new()) };
        }
        let fresh = text[self.prefix.len()..].to_string();
        self.window.drain(..self.prefix_tokens);
        self.prefix_tokens = self.window.len();
        self.prefix = self.decode(&self.window)?;
        Ok(fresh)
    }

    pub fn flush(&mut self) -> Fallible<String> {
        let text = self.window_text()?;
        let fresh = text[self.prefix.len()..].to_string();
        self.window.clear();
        self.prefix.clear();
        self.prefix_tokens = 0;
        Ok(fresh)
    }

    /// Hands out all but a short tail, split where the parts decode to the same text as the whole.
    fn cut(&mut self, text: &str) -> Fallible<String> {
        for tail in MIN_TAIL_TOKENS..=MAX_TAIL_TOKENS.min(self.window.len() - self.prefix_tokens) {
            let (head, rest) = self.window.split_at(self.window.len() - tail);
            let head_text = self.decode(head)?;
            if text.strip_prefix(head_text.as_str()) == Some(self.decode(rest)?.as_str()) && head_text.starts_with(&self.prefix) {
                let fresh = head_text[self.prefix.len()..].to_string();
                self.window = rest.to_vec();
                self.prefix.clear();
                self.prefix_tokens = 0;
                return Ok(fresh);
            }
        }
        Ok(String::new())
    }

    fn decode(&self, ids: &[u32]) -> Fallible<String> {
        self.tokenizer.decode(ids, self.skip_special_tokens)
    }

    /// The window's text, which starts with `prefix`; when the decoder changed that part, the window starts anew behind it.
    fn window_text(&mut self) -> Fallible<String> {
        let text = self.decode(&self.window)?;
        if text.starts_with(&self.prefix) {
            return Ok(text);
        }
        self.window.drain(..self.prefix_tokens);
        self.prefix.clear();
        self.prefix_tokens = 0;
        self.decode(&self.window)
    }
}
