"""Published models that look at pictures: classifiers, image-text towers, vision-language models. Nothing is trained
here.
"""
