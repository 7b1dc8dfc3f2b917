"""Recipes: one readable script per task.

`biomeformer recipes list` names them. Each is run by its file, or as `python -m biomeformer.recipes.NAME`, also under
`accelerate launch` and torchrun.
"""
