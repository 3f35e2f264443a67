"""Run shoal in an asyncio program: `Node` and its events."""
