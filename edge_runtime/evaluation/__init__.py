"""How good a model is on pictures whose right labels are known; numpy alone, so on devices too.

`examine` asks a model, `scores` says how it did, `report` shows it.
"""
