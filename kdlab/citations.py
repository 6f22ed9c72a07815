"""BibTeX of the papers that methods, views, nets and data sets come from.

A class names its papers in a class attribute ``paper``, a tuple of keys of :data:`BIBTEX`, which are cited beside those
of the classes that it derives from. A field that is not certain is left out.
"""

from __future__ import annotations

from collections.abc import Iterable

from kdlab.types import InputError

_ENTRIES = r"""@article{adams2017persistence,
  title = {Persistence images: a stable vector representation of persistent homology},
  author = {Adams, Henry and Emerson, Tegan and Kirby, Michael and Neville, Rachel and Peterson, Chris and Shipman,
    Patrick and Chepushtanova, Sofya and Hanson, Eric and Motta, Francis and Ziegelmeier, Lori},
  journal = {Journal of Machine Learning Research},
  volume = {18},
  number = {8},
  year = {2017}
}

@inproceedings{ahn2019variational,
  title = {Variational information distillation for knowledge transfer},
  author = {Ahn, Sungsoo and Hu, Shell Xu and Damianou, Andreas and Lawrence, Neil D. and Dai, Zhenwen},
  booktitle = {IEEE/CVF Conference on Computer Vision and Pattern Recognition (CVPR)},
  year = {2019},
  note = {arXiv:1904.05835}
}

@article{allen1977short,
  title = {Short term spectral analysis, synthesis, and modification by discrete {Fourier} transform},
  author = {Allen, Jont B.},
  journal = {IEEE Transactions on Acoustics, Speech, and Signal Processing},
  volume = {25},
  number = {3},
  pages = {235--238},
  year = {1977},
  doi = {10.1109/TASSP.1977.1162950}
}

@inproceedings{anguita2013public,
  title = {A public domain dataset for human activity recognition using smartphones},
  author = {Anguita, Davide and Ghio, Alessandro and Oneto, Luca and Parra, Xavier and Reyes-Ortiz, Jorge L.},
  booktitle = {European Symposium on Artificial Neural Networks (ESANN)},
  year = {2013}
}

@misc{bagnall2018uea,
  title = {The {UEA} multivariate time series classification archive, 2018},
  author = {Bagnall, Anthony and others},
  year = {2018},
  note = {arXiv:1811.00075}
}

@inproceedings{bahdanau2015neural,
  title = {Neural machine translation by jointly learning to align and translate},
  author = {Bahdanau, Dzmitry and Cho, Kyunghyun and Bengio, Yoshua},
  booktitle = {International Conference on Learning Representations (ICLR)},
  year = {2015},
  note = {arXiv:1409.0473}
}

@article{burns2018shoulder,
  title = {Shoulder physiotherapy exercise recognition: machine learning the inertial signals from a smartwatch},
  author = {Burns, David M. and Leung, Nathan and Hardisty, Michael and Whyne, Cari M. and Henry, Patrick and McLachlin,
    Stewart},
  journal = {Physiological Measurement},
  volume = {39},
  number = {7},
  pages = {075007},
  year = {2018},
  doi = {10.1088/1361-6579/aacfd9},
  note = {arXiv:1802.01489}
}

@inproceedings{chen2015utd,
  title = {{UTD-MHAD}: a multimodal dataset for human action recognition utilizing a depth camera and a wearable
    inertial sensor},
  author = {Chen, Chen and Jafari, Roozbeh and Kehtarnavaz, Nasser},
  booktitle = {IEEE International Conference on Image Processing (ICIP)},
  year = {2015},
  doi = {10.1109/ICIP.2015.7350781}
}

@misc{chen2025comodo,
  title = {{COMODO}: Cross-modal video-to-{IMU} distillation for efficient egocentric human activity recognition},
  author = {Chen, Baiyu and Wongso, Wilson and Li, Zechen and Khaokaew, Yonchanok and Xue, Hao and Salim, Flora},
  year = {2025},
  note = {arXiv:2503.07259}
}

@inproceedings{chen2021distilling,
  title = {Distilling knowledge via knowledge review},
  author = {Chen, Pengguang and Liu, Shu and Zhao, Hengshuang and Jia, Jiaya},
  booktitle = {IEEE/CVF Conference on Computer Vision and Pattern Recognition (CVPR)},
  year = {2021},
  note = {arXiv:2104.09044}
}

@inproceedings{chen2022knowledge,
  title = {Knowledge distillation with the reused teacher classifier},
  author = {Chen, Defang and Mei, Jian-Ping and Zhang, Hailin and Wang, Can and Feng, Yan and Chen, Chun},
  booktitle = {IEEE/CVF Conference on Computer Vision and Pattern Recognition (CVPR)},
  year = {2022},
  note = {arXiv:2203.14001}
}

@inproceedings{cho2014learning,
  title = {Learning phrase representations using {RNN} encoder-decoder for statistical machine translation},
  author = {Cho, Kyunghyun and van Merri{\"e}nboer, Bart and Gulcehre, Caglar and Bahdanau, Dzmitry and Bougares, Fethi
    and Schwenk, Holger and Bengio, Yoshua},
  booktitle = {Conference on Empirical Methods in Natural Language Processing (EMNLP)},
  year = {2014},
  doi = {10.3115/v1/D14-1179}
}

@inproceedings{cho2019efficacy,
  title = {On the efficacy of knowledge distillation},
  author = {Cho, Jang Hyun and Hariharan, Bharath},
  booktitle = {IEEE/CVF International Conference on Computer Vision (ICCV)},
  year = {2019},
  doi = {10.1109/ICCV.2019.00489}
}

@inproceedings{choi2020amc,
  title = {{AMC}-Loss: Angular margin contrastive loss for improved explainability in image classification},
  author = {Choi, Hongjun and Som, Anirudh and Turaga, Pavan},
  booktitle = {IEEE/CVF Conference on Computer Vision and Pattern Recognition Workshops (CVPRW)},
  year = {2020},
  note = {arXiv:2004.09805}
}

@article{choi2025intra,
  title = {Intra-class patch swap for self-distillation},
  author = {Choi, Hongjun and Jeon, Eun Som and Shukla, Ankita and Turaga, Pavan},
  journal = {Neurocomputing},
  volume = {645},
  pages = {130408},
  year = {2025},
  note = {arXiv:2505.14124}
}

@inproceedings{choi2023understanding,
  title = {Understanding the role of mixup in knowledge distillation: An empirical study},
  author = {Choi, Hongjun and Jeon, Eun Som and Shukla, Ankita and Turaga, Pavan},
  booktitle = {IEEE/CVF Winter Conference on Applications of Computer Vision (WACV)},
  year = {2023},
  note = {arXiv:2211.03946}
}

@inproceedings{clark2019bam,
  title = {{BAM}! {B}orn-again multi-task networks for natural language understanding},
  author = {Clark, Kevin and Luong, Minh-Thang and Khandelwal, Urvashi and Manning, Christopher D. and Le, Quoc V.},
  booktitle = {Annual Meeting of the Association for Computational Linguistics (ACL)},
  year = {2019},
  doi = {10.18653/v1/P19-1595}
}

@misc{darlow2018cinic,
  title = {{CINIC-10} is not {ImageNet} or {CIFAR-10}},
  author = {Darlow, Luke N. and Crowley, Elliot J. and Antoniou, Antreas and Storkey, Amos J.},
  year = {2018},
  note = {arXiv:1810.03505}
}

@inproceedings{dosovitskiy2021image,
  title = {An image is worth 16x16 words: transformers for image recognition at scale},
  author = {Dosovitskiy, Alexey and Beyer, Lucas and Kolesnikov, Alexander and Weissenborn, Dirk and Zhai, Xiaohua and
    Unterthiner, Thomas and Dehghani, Mostafa and Minderer, Matthias and Heigold, Georg and Gelly, Sylvain and
    Uszkoreit, Jakob and Houlsby, Neil},
  booktitle = {International Conference on Learning Representations (ICLR)},
  year = {2021},
  note = {arXiv:2010.11929}
}

@inproceedings{du2020agree,
  title = {Agree to disagree: adaptive ensemble knowledge distillation in gradient space},
  author = {Du, Shangchen and You, Shan and Li, Xiaojie and Wu, Jianlong and Wang, Fei and Qian, Chen and Zhang,
    Changshui},
  booktitle = {Advances in Neural Information Processing Systems (NeurIPS)},
  year = {2020}
}

@article{eckmann1987recurrence,
  title = {Recurrence plots of dynamical systems},
  author = {Eckmann, Jean-Pierre and Oliffson Kamphorst, Sylvie and Ruelle, David},
  journal = {Europhysics Letters},
  volume = {4},
  number = {9},
  pages = {973--977},
  year = {1987},
  doi = {10.1209/0295-5075/4/9/004}
}

@article{elman1990finding,
  title = {Finding structure in time},
  author = {Elman, Jeffrey L.},
  journal = {Cognitive Science},
  volume = {14},
  number = {2},
  pages = {179--211},
  year = {1990},
  doi = {10.1207/s15516709cog1402_1}
}

@misc{feofanov2025mantis,
  title = {Mantis: Lightweight calibrated foundation model for user-friendly time series classification},
  author = {Feofanov, Vasilii and Wen, Songkang and Alonso, Marius and Ilbert, Romain and Guo, Hongbo and Tiomoko, Malik
    and Pan, Lujia and Zhang, Jianfeng and Redko, Ievgen},
  year = {2025},
  note = {arXiv:2502.15637}
}

@article{hansen1990neural,
  title = {Neural network ensembles},
  author = {Hansen, Lars Kai and Salamon, Peter},
  journal = {IEEE Transactions on Pattern Analysis and Machine Intelligence},
  volume = {12},
  number = {10},
  pages = {993--1001},
  year = {1990},
  doi = {10.1109/34.58871}
}

@inproceedings{he2016deep,
  title = {Deep residual learning for image recognition},
  author = {He, Kaiming and Zhang, Xiangyu and Ren, Shaoqing and Sun, Jian},
  booktitle = {IEEE Conference on Computer Vision and Pattern Recognition (CVPR)},
  pages = {770--778},
  year = {2016},
  doi = {10.1109/CVPR.2016.90}
}

@inproceedings{hinton2015distilling,
  title = {Distilling the knowledge in a neural network},
  author = {Hinton, Geoffrey and Vinyals, Oriol and Dean, Jeff},
  booktitle = {NIPS Deep Learning Workshop},
  year = {2014},
  note = {arXiv:1503.02531}
}

@article{hochreiter1997long,
  title = {Long short-term memory},
  author = {Hochreiter, Sepp and Schmidhuber, J{\"u}rgen},
  journal = {Neural Computation},
  volume = {9},
  number = {8},
  pages = {1735--1780},
  year = {1997},
  doi = {10.1162/neco.1997.9.8.1735}
}

@inproceedings{huang2022knowledge,
  title = {Knowledge distillation from a stronger teacher},
  author = {Huang, Tao and You, Shan and Wang, Fei and Qian, Chen and Xu, Chang},
  booktitle = {Advances in Neural Information Processing Systems (NeurIPS)},
  year = {2022},
  note = {arXiv:2205.10536}
}

@inproceedings{huang2023knowledge,
  title = {Knowledge diffusion for distillation},
  author = {Huang, Tao and Zhang, Yuan and Zheng, Mingkai and You, Shan and Wang, Fei and Qian, Chen and Xu, Chang},
  booktitle = {Advances in Neural Information Processing Systems (NeurIPS)},
  year = {2023},
  note = {arXiv:2305.15712}
}

@article{ismailfawaz2020inceptiontime,
  title = {{InceptionTime}: Finding {AlexNet} for time series classification},
  author = {Ismail Fawaz, Hassan and Lucas, Benjamin and Forestier, Germain and Pelletier, Charlotte and Schmidt, Daniel
    F. and Weber, Jonathan and Webb, Geoffrey I. and Idoumghar, Lhassane and Muller, Pierre-Alain and Petitjean,
    Fran{\c c}ois},
  journal = {Data Mining and Knowledge Discovery},
  volume = {34},
  number = {6},
  pages = {1936--1962},
  year = {2020},
  doi = {10.1007/s10618-020-00710-y}
}

@inproceedings{izmailov2018averaging,
  title = {Averaging weights leads to wider optima and better generalization},
  author = {Izmailov, Pavel and Podoprikhin, Dmitrii and Garipov, Timur and Vetrov, Dmitry and Wilson, Andrew Gordon},
  booktitle = {Conference on Uncertainty in Artificial Intelligence (UAI)},
  year = {2018},
  note = {arXiv:1803.05407}
}

@inproceedings{jafari2021annealing,
  title = {Annealing knowledge distillation},
  author = {Jafari, Aref and Rezagholizadeh, Mehdi and Sharma, Pranav and Ghodsi, Ali},
  booktitle = {Conference of the European Chapter of the Association for Computational Linguistics (EACL)},
  year = {2021},
  doi = {10.18653/v1/2021.eacl-main.212}
}

@article{jeon2022role,
  title = {Role of data augmentation strategies in knowledge distillation for wearable sensor data},
  author = {Jeon, Eun Som and Som, Anirudh and Shukla, Ankita and Hasanaj, Kristina and Buman, Matthew P. and Turaga,
    Pavan},
  journal = {IEEE Internet of Things Journal},
  volume = {9},
  number = {14},
  pages = {12848--12860},
  year = {2022},
  doi = {10.1109/JIOT.2021.3139038}
}

@inproceedings{jeon2022topological,
  title = {Topological knowledge distillation for wearable sensor data},
  author = {Jeon, Eun Som and Choi, Hongjun and Shukla, Ankita and Wang, Yuan and Buman, Matthew P. and Turaga, Pavan},
  booktitle = {Asilomar Conference on Signals, Systems, and Computers},
  year = {2022}
}

@article{jeon2023constrained,
  title = {Constrained adaptive distillation based on topological persistence for wearable sensor data},
  author = {Jeon, Eun Som and Choi, Hongjun and Shukla, Ankita and Wang, Yuan and Buman, Matthew P. and Turaga, Pavan},
  journal = {IEEE Transactions on Instrumentation and Measurement},
  year = {2023},
  doi = {10.1109/TIM.2023.3329818}
}

@article{jeon2023leveraging,
  title = {Leveraging angular distributions for improved knowledge distillation},
  author = {Jeon, Eun Som and Choi, Hongjun and Shukla, Ankita and Turaga, Pavan},
  journal = {Neurocomputing},
  volume = {518},
  year = {2023},
  doi = {10.1016/j.neucom.2022.11.029}
}

@inproceedings{jeon2024leveraging,
  title = {Leveraging topological guidance for improved knowledge distillation},
  author = {Jeon, Eun Som and Khurana, Rahul and Pathak, Aishani and Turaga, Pavan},
  booktitle = {ICML Workshop on Geometry-grounded Representation Learning and Generative Modeling},
  year = {2024},
  note = {arXiv:2407.05316}
}

@article{jeon2024topological,
  title = {Topological persistence guided knowledge distillation for wearable sensor data},
  author = {Jeon, Eun Som and Choi, Hongjun and Shukla, Ankita and Wang, Yuan and Lee, Hyunglae and Buman, Matthew P.
    and Turaga, Pavan},
  journal = {Engineering Applications of Artificial Intelligence},
  volume = {130},
  year = {2024},
  doi = {10.1016/j.engappai.2023.107719}
}

@inproceedings{ji2021show,
  title = {Show, attend and distill: knowledge distillation via attention-based feature matching},
  author = {Ji, Mingi and Heo, Byeongho and Park, Sungrae},
  booktitle = {AAAI Conference on Artificial Intelligence},
  year = {2021},
  note = {arXiv:2102.02973}
}

@inproceedings{kim2021self,
  title = {Self-knowledge distillation with progressive refinement of targets},
  author = {Kim, Kyungyul and Ji, ByeongMoon and Yoon, Doyoung and Hwang, Sangheum},
  booktitle = {IEEE/CVF International Conference on Computer Vision (ICCV)},
  year = {2021},
  note = {arXiv:2006.12000}
}

@misc{krizhevsky2009learning,
  title = {Learning multiple layers of features from tiny images},
  author = {Krizhevsky, Alex},
  howpublished = {Technical report, University of Toronto},
  year = {2009}
}

@inproceedings{kwon2020entropy,
  title = {Adaptive knowledge distillation based on entropy},
  author = {Kwon, Kisoo and Na, Hwidong and Lee, Hoshik and Kim, Nam Soo},
  booktitle = {IEEE International Conference on Acoustics, Speech and Signal Processing (ICASSP)},
  year = {2020},
  doi = {10.1109/ICASSP40776.2020.9054698}
}

@inproceedings{liu2017sphereface,
  title = {{SphereFace}: Deep hypersphere embedding for face recognition},
  author = {Liu, Weiyang and Wen, Yandong and Yu, Zhiding and Li, Ming and Raj, Bhiksha and Song, Le},
  booktitle = {IEEE Conference on Computer Vision and Pattern Recognition (CVPR)},
  year = {2017},
  note = {arXiv:1704.08063}
}

@misc{le2015tiny,
  title = {Tiny {ImageNet} visual recognition challenge},
  author = {Le, Ya and Yang, Xuan},
  year = {2015},
  note = {CS 231N, Stanford University}
}

@inproceedings{lee2013pseudo,
  title = {Pseudo-label: The simple and efficient semi-supervised learning method for deep neural networks},
  author = {Lee, Dong-Hyun},
  booktitle = {ICML Workshop on Challenges in Representation Learning},
  year = {2013}
}

@article{liu2021semantics,
  title = {Semantics-aware adaptive knowledge distillation for sensor-to-vision action recognition},
  author = {Liu, Yang and Wang, Keze and Li, Guanbin and Lin, Liang},
  journal = {IEEE Transactions on Image Processing},
  volume = {30},
  year = {2021},
  doi = {10.1109/TIP.2021.3086590}
}

@article{mateysanz2023dataset,
  title = {Dataset of inertial measurements of smartphones and smartwatches for human activity recognition},
  author = {Matey-Sanz, Miguel and Casteleyn, Sven and Granell, Carlos},
  journal = {Data in Brief},
  year = {2023},
  doi = {10.1016/j.dib.2023.109809}
}

@inproceedings{luong2015effective,
  title = {Effective approaches to attention-based neural machine translation},
  author = {Luong, Minh-Thang and Pham, Hieu and Manning, Christopher D.},
  booktitle = {Conference on Empirical Methods in Natural Language Processing (EMNLP)},
  year = {2015},
  doi = {10.18653/v1/D15-1166}
}

@inproceedings{ni2022cross,
  title = {Cross-modal knowledge distillation for vision-to-sensor action recognition},
  author = {Ni, Jianyuan and Sarbajna, Raunak and Liu, Yang and Ngu, Anne H. H. and Yan, Yan},
  booktitle = {IEEE International Conference on Acoustics, Speech and Signal Processing (ICASSP)},
  year = {2022},
  note = {arXiv:2112.01849}
}

@inproceedings{park2019relational,
  title = {Relational knowledge distillation},
  author = {Park, Wonpyo and Kim, Dongju and Lu, Yan and Cho, Minsu},
  booktitle = {IEEE/CVF Conference on Computer Vision and Pattern Recognition (CVPR)},
  pages = {3967--3976},
  year = {2019},
  doi = {10.1109/CVPR.2019.00409}
}

@inproceedings{passalis2018learning,
  title = {Learning deep representations with probabilistic knowledge transfer},
  author = {Passalis, Nikolaos and Tefas, Anastasios},
  booktitle = {European Conference on Computer Vision (ECCV)},
  year = {2018},
  note = {arXiv:1803.10837}
}

@inproceedings{reiss2012introducing,
  title = {Introducing a new benchmarked dataset for activity monitoring},
  author = {Reiss, Attila and Stricker, Didier},
  booktitle = {International Symposium on Wearable Computers (ISWC)},
  year = {2012},
  doi = {10.1109/ISWC.2012.13}
}

@inproceedings{romero2015fitnets,
  title = {{FitNets}: hints for thin deep nets},
  author = {Romero, Adriana and Ballas, Nicolas and Kahou, Samira Ebrahimi and Chassang, Antoine and Gatta, Carlo and
    Bengio, Yoshua},
  booktitle = {International Conference on Learning Representations (ICLR)},
  year = {2015},
  note = {arXiv:1412.6550}
}

@article{russakovsky2015imagenet,
  title = {{ImageNet} large scale visual recognition challenge},
  author = {Russakovsky, Olga and others},
  journal = {International Journal of Computer Vision},
  year = {2015},
  doi = {10.1007/s11263-015-0816-y}
}

@inproceedings{sandler2018mobilenetv2,
  title = {{MobileNetV2}: inverted residuals and linear bottlenecks},
  author = {Sandler, Mark and Howard, Andrew and Zhu, Menglong and Zhmoginov, Andrey and Chen, Liang-Chieh},
  booktitle = {IEEE/CVF Conference on Computer Vision and Pattern Recognition (CVPR)},
  pages = {4510--4520},
  year = {2018},
  doi = {10.1109/CVPR.2018.00474}
}

@inproceedings{simonyan2015very,
  title = {Very deep convolutional networks for large-scale image recognition},
  author = {Simonyan, Karen and Zisserman, Andrew},
  booktitle = {International Conference on Learning Representations (ICLR)},
  year = {2015},
  note = {arXiv:1409.1556}
}

@inproceedings{li2023curriculum,
  title = {Curriculum temperature for knowledge distillation},
  author = {Li, Zheng and Li, Xiang and Yang, Lingfeng and Zhao, Borui and Song, Renjie and Luo, Lei and Li, Jun and
            Yang, Jian},
  booktitle = {AAAI Conference on Artificial Intelligence},
  year = {2023},
  note = {arXiv:2211.16231}
}

@inproceedings{sun2024logit,
  title = {Logit standardization in knowledge distillation},
  author = {Sun, Shangquan and Ren, Wenqi and Li, Jingzhi and Wang, Rui and Cao, Xiaochun},
  booktitle = {IEEE/CVF Conference on Computer Vision and Pattern Recognition (CVPR)},
  year = {2024},
  note = {arXiv:2403.01427}
}

@inproceedings{srivastava2015unsupervised,
  title = {Unsupervised learning of video representations using {LSTMs}},
  author = {Srivastava, Nitish and Mansimov, Elman and Salakhutdinov, Ruslan},
  booktitle = {International Conference on Machine Learning (ICML)},
  year = {2015},
  note = {arXiv:1502.04681}
}

@inproceedings{sutskever2014sequence,
  title = {Sequence to sequence learning with neural networks},
  author = {Sutskever, Ilya and Vinyals, Oriol and Le, Quoc V.},
  booktitle = {Advances in Neural Information Processing Systems (NeurIPS)},
  year = {2014},
  note = {arXiv:1409.3215}
}

@inproceedings{tian2020contrastive,
  title = {Contrastive representation distillation},
  author = {Tian, Yonglong and Krishnan, Dilip and Isola, Phillip},
  booktitle = {International Conference on Learning Representations (ICLR)},
  year = {2020},
  note = {arXiv:1910.10699}
}

@inproceedings{szegedy2015going,
  title = {Going deeper with convolutions},
  author = {Szegedy, Christian and Liu, Wei and Jia, Yangqing and Sermanet, Pierre and Reed, Scott and Anguelov,
    Dragomir and Erhan, Dumitru and Vanhoucke, Vincent and Rabinovich, Andrew},
  booktitle = {IEEE Conference on Computer Vision and Pattern Recognition (CVPR)},
  year = {2015},
  doi = {10.1109/CVPR.2015.7298594},
  note = {arXiv:1409.4842}
}

@inproceedings{tung2019similarity,
  title = {Similarity-preserving knowledge distillation},
  author = {Tung, Frederick and Mori, Greg},
  booktitle = {IEEE/CVF International Conference on Computer Vision (ICCV)},
  year = {2019},
  doi = {10.1109/ICCV.2019.00145}
}

@inproceedings{um2017data,
  title = {Data augmentation of wearable sensor data for Parkinson's disease monitoring using convolutional neural
    networks},
  author = {Um, Terry T. and Pfister, Franz M. J. and Pichler, Daniel and Endo, Satoshi and Lang, Muriel and Hirche,
    Sandra and Fietzek, Urban and Kuli{\'c}, Dana},
  booktitle = {ACM International Conference on Multimodal Interaction (ICMI)},
  pages = {216--220},
  year = {2017},
  doi = {10.1145/3136755.3136817},
  note = {arXiv:1706.00527}
}

@inproceedings{vaswani2017attention,
  title = {Attention is all you need},
  author = {Vaswani, Ashish and Shazeer, Noam and Parmar, Niki and Uszkoreit, Jakob and Jones, Llion and Gomez, Aidan N.
    and Kaiser, {\L}ukasz and Polosukhin, Illia},
  booktitle = {Advances in Neural Information Processing Systems (NeurIPS)},
  year = {2017},
  note = {arXiv:1706.03762}
}

@inproceedings{wang2015imaging,
  title = {Imaging time-series to improve classification and imputation},
  author = {Wang, Zhiguang and Oates, Tim},
  booktitle = {International Joint Conference on Artificial Intelligence (IJCAI)},
  pages = {3939--3945},
  year = {2015},
  note = {arXiv:1506.00327}
}

@inproceedings{wang2017time,
  title = {Time series classification from scratch with deep neural networks: A strong baseline},
  author = {Wang, Zhiguang and Yan, Weizhong and Oates, Tim},
  booktitle = {International Joint Conference on Neural Networks (IJCNN)},
  year = {2017},
  doi = {10.1109/IJCNN.2017.7966039}
}

@inproceedings{wang2020pay,
  title = {Pay attention to features, transfer learn faster {CNN}s},
  author = {Wang, Kafeng and Gao, Xitong and Zhao, Yiren and Li, Xingjian and Dou, Dejing and Xu, Cheng-Zhong},
  booktitle = {International Conference on Learning Representations (ICLR)},
  year = {2020}
}

@inproceedings{xu2019data,
  title = {Data-distortion guided self-distillation for deep neural networks},
  author = {Xu, Ting-Bing and Liu, Cheng-Lin},
  booktitle = {AAAI Conference on Artificial Intelligence},
  year = {2019},
  doi = {10.1609/aaai.v33i01.33015565}
}

@inproceedings{xu2021limu,
  title = {{LIMU-BERT}: Unleashing the potential of unlabeled data for {IMU} sensing applications},
  author = {Xu, Huatao and Zhou, Pengfei and Tan, Rui and Li, Mo and Shen, Guobin},
  booktitle = {ACM Conference on Embedded Networked Sensor Systems (SenSys)},
  pages = {220--233},
  year = {2021},
  doi = {10.1145/3485730.3485937}
}

@inproceedings{yang2016hierarchical,
  title = {Hierarchical attention networks for document classification},
  author = {Yang, Zichao and Yang, Diyi and Dyer, Chris and He, Xiaodong and Smola, Alex and Hovy, Eduard},
  booktitle = {Conference of the North American Chapter of the Association for Computational Linguistics (NAACL)},
  year = {2016},
  doi = {10.18653/v1/N16-1174}
}

@inproceedings{you2017multiple,
  title = {Learning from multiple teacher networks},
  author = {You, Shan and Xu, Chang and Xu, Chao and Tao, Dacheng},
  booktitle = {ACM SIGKDD International Conference on Knowledge Discovery and Data Mining (KDD)},
  year = {2017}
}

@article{yuan2024self,
  title = {Self-supervised learning for human activity recognition using 700,000 person-days of wearable data},
  author = {Yuan, Hang and Chan, Shing and Creagh, Andrew P. and Tong, Catherine and Acquah, Aidan and Clifton, David A.
    and Doherty, Aiden},
  journal = {npj Digital Medicine},
  volume = {7},
  year = {2024},
  doi = {10.1038/s41746-024-01062-3}
}

@article{yuan2025foot,
  title = {Foot pressure-based abnormal gait recognition with multi-scale cross-attention fusion},
  author = {Yuan, Menghao and Wang, Yan and Zhou, Xiaohu and Gui, Meijiang and Wang, Aihui and Wang, Chen and Li, Guotao
    and Yu, Hongnian and Meng, Lin and Hou, Zengguang},
  journal = {IEEE Transactions on Neural Systems and Rehabilitation Engineering},
  year = {2025},
  doi = {10.1109/TNSRE.2025.3597639}
}

@inproceedings{yuan2020revisiting,
  title = {Revisiting knowledge distillation via label smoothing regularization},
  author = {Yuan, Li and Tay, Francis E. H. and Li, Guilin and Wang, Tao and Feng, Jiashi},
  booktitle = {IEEE/CVF Conference on Computer Vision and Pattern Recognition (CVPR)},
  year = {2020},
  note = {arXiv:1909.11723}
}

@inproceedings{yun2019cutmix,
  title = {{CutMix}: Regularization strategy to train strong classifiers with localizable features},
  author = {Yun, Sangdoo and Han, Dongyoon and Oh, Seong Joon and Chun, Sanghyuk and Choe, Junsuk and Yoo, Youngjoon},
  booktitle = {IEEE/CVF International Conference on Computer Vision (ICCV)},
  year = {2019},
  note = {arXiv:1905.04899}
}

@inproceedings{yun2020regularizing,
  title = {Regularizing class-wise predictions via self-knowledge distillation},
  author = {Yun, Sukmin and Park, Jongjin and Lee, Kimin and Shin, Jinwoo},
  booktitle = {IEEE/CVF Conference on Computer Vision and Pattern Recognition (CVPR)},
  year = {2020},
  note = {arXiv:2003.13964}
}

@inproceedings{zagoruyko2016wide,
  title = {Wide residual networks},
  author = {Zagoruyko, Sergey and Komodakis, Nikos},
  booktitle = {British Machine Vision Conference (BMVC)},
  year = {2016},
  note = {arXiv:1605.07146}
}

@inproceedings{zagoruyko2017paying,
  title = {Paying more attention to attention: improving the performance of convolutional neural networks via attention
    transfer},
  author = {Zagoruyko, Sergey and Komodakis, Nikos},
  booktitle = {International Conference on Learning Representations (ICLR)},
  year = {2017},
  note = {arXiv:1612.03928}
}

@inproceedings{zhang2018mixup,
  title = {mixup: Beyond empirical risk minimization},
  author = {Zhang, Hongyi and Cisse, Moustapha and Dauphin, Yann N. and Lopez-Paz, David},
  booktitle = {International Conference on Learning Representations (ICLR)},
  year = {2018},
  note = {arXiv:1710.09412}
}

@inproceedings{zhang2022confidence,
  title = {Confidence-aware multi-teacher knowledge distillation},
  author = {Zhang, Hailin and Chen, Defang and Wang, Can},
  booktitle = {IEEE International Conference on Acoustics, Speech and Signal Processing (ICASSP)},
  year = {2022},
  note = {arXiv:2201.00007}
}

@inproceedings{yang2025multi,
  title = {Multi-teacher knowledge distillation with reinforcement learning for visual recognition},
  author = {Yang, Chuanguang and Yu, Xinqiang and Yang, Han and An, Zhulin and Yu, Chengqing and Huang, Libo and Xu,
    Yongjun},
  booktitle = {AAAI Conference on Artificial Intelligence},
  year = {2025},
  doi = {10.1609/aaai.v39i9.32990},
  note = {arXiv:2502.18510}
}

@inproceedings{yang2023knowledge,
  title = {From knowledge distillation to self-knowledge distillation: a unified approach with normalized loss and
    customized soft labels},
  author = {Yang, Zhendong and Zeng, Ailing and Li, Zhe and Zhang, Tianke and Yuan, Chun and Li, Yu},
  booktitle = {IEEE/CVF International Conference on Computer Vision (ICCV)},
  year = {2023},
  note = {arXiv:2303.13005}
}

@misc{giakoumoglou2024discriminative,
  title = {Discriminative and consistent representation distillation},
  author = {Giakoumoglou, Nikolaos and Stathaki, Tania},
  year = {2024},
  note = {arXiv:2407.11802}
}

@inproceedings{lv2024wasserstein,
  title = {Wasserstein distance rivals Kullback-Leibler divergence for knowledge distillation},
  author = {Lv, Jiaming and Yang, Haoyuan and Li, Peihua},
  booktitle = {Advances in Neural Information Processing Systems (NeurIPS)},
  year = {2024},
  note = {arXiv:2412.08139}
}

@inproceedings{miles2024understanding,
  title = {Understanding the role of the projector in knowledge distillation},
  author = {Miles, Roy and Mikolajczyk, Krystian},
  booktitle = {AAAI Conference on Artificial Intelligence},
  year = {2024},
  note = {arXiv:2303.11098}
}

@inproceedings{zheng2024knowledge,
  title = {Knowledge distillation based on transformed teacher matching},
  author = {Zheng, Kaixiang and Yang, En-Hui},
  booktitle = {International Conference on Learning Representations (ICLR)},
  year = {2024},
  note = {arXiv:2402.11148}
}

@inproceedings{zhao2022decoupled,
  title = {Decoupled knowledge distillation},
  author = {Zhao, Borui and Cui, Quan and Song, Renjie and Qiu, Yiyu and Liang, Jiajun},
  booktitle = {IEEE/CVF Conference on Computer Vision and Pattern Recognition (CVPR)},
  year = {2022},
  note = {arXiv:2203.08679}
}
"""

#: key -> entry
BIBTEX: dict[str, str] = {
    entry[entry.index("{") + 1 : entry.index(",")]: entry for entry in _ENTRIES.strip().split("\n\n")
}


#: key -> the setting of an objective that is the weight of what it is cited for; with weight 0, it was not used
_WEIGHTS = {"hinton2015distilling": "kd_weight", "tung2019similarity": "similarity_weight"}


def papers(things: Iterable[object]) -> tuple[str, ...]:
    """The keys that objects or classes, and those that they derive from, name in ``paper``, in order and each once.

    Soft targets and batch similarities whose weight is 0 are left out, unless a callback among ``things`` moves it.

    Example:
        >>> from kdlab.methods import ESKD, TGD
        >>> papers([ESKD])
        ('cho2019efficacy', 'jeon2022role')
        >>> from kdlab.methods.tgd import TGDObjective
        >>> papers([TGDObjective()])
        ('jeon2024leveraging', 'tung2019similarity', 'hinton2015distilling')
    """
    listed = list(things)
    moved = {getattr(thing, "setting", None) for thing in listed}
    found: dict[str, None] = {}
    for thing in listed:
        classes = thing.__mro__ if isinstance(thing, type) else type(thing).__mro__
        keys = [*getattr(thing, "paper", ()), *(key for cls in classes for key in vars(cls).get("paper", ()))]
        for key in keys:
            setting = _WEIGHTS.get(key, "")
            if setting in moved or getattr(thing, setting, 1) != 0:
                found[key] = None
    return tuple(found)


def bibtex(keys: Iterable[str]) -> str:
    """The entries of these keys, sorted, each once.

    Raises:
        InputError: for a key that has no entry.

    Example:
        >>> print(bibtex(["tung2019similarity"]).splitlines()[0])
        @inproceedings{tung2019similarity,
    """
    wanted = sorted(set(keys))
    unknown = [key for key in wanted if key not in BIBTEX]
    if unknown:
        raise InputError(f"No BibTeX entry for {', '.join(map(repr, unknown))}; add it to kdlab/citations.py.")
    return "\n\n".join(BIBTEX[key] for key in wanted)
