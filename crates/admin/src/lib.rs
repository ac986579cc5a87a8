//! Who may do what at a node, what was done, and how the interface for it is described.
