"""The page that shows a run: `edgeproof run --web`.

    loop's thread ── WebSink.write ──▶ RunState (the newest result, history, last answers)
    server's thread ── feeds.py: one encoding for all viewers, none without ──▶ app.py ──▶ browsers
                       guard.py: who may look

The page only looks: no request changes anything of the run.
"""
