"""Publish a model or dataset on the Hugging Face Hub: a dry run, unless --push is given.

python hub_upload.py card DIR --id NAMESPACE/NAME
python hub_upload.py model DIR NAMESPACE/NAME [--push]
python hub_upload.py dataset DIR NAMESPACE/NAME [--push]
python hub_upload.py collection TITLE NAMESPACE --model ID --dataset ID [--push]

The same as `biomeformer publish`; the logic is in `biomeformer.hub`.
"""

from biomeformer.cli.publish import main

if __name__ == "__main__":
    main()
