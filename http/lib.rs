//! The edge: HTTP, WebSocket, SSE; where failures become answers.
