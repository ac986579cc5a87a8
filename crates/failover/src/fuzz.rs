//! Entrances for fuzzing. Nothing else may use them.

/// Reads bytes as answers of a Redis server.
pub fn redis_answers(bytes: &[u8]) {
    crate::redis::fuzz(bytes);
}
