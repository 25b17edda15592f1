"""Style transfer of videos and pictures: the files of its pipelines, their entry scripts and what these share."""
